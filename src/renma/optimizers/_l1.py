"""L1 penalty as a proximal step: p <- sign(p) max(|p| - rate * l1, 0).

Soft thresholding after the step (Parikh and Boyd, Proximal Algorithms, 2014, section 6.5.2) is to
L1 what decoupled decay is to L2: no optimizer rescales it, and weights become exactly 0, which a
subgradient never does. A gradient that adds up in an undamped momentum (SGD) weighs
1 / (1 - momentum) times more against it, as it does against decoupled decay.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.optim import Optimizer

from renma.config.optimizers._base import Rates
from renma.optimizers._rates import in_force


def attach(optimizer: Optimizer, config: Rates) -> None:
    """Lets every step of the optimizer end with the shrinking."""

    @torch.no_grad()
    def shrink(stepped: Optimizer, _args: Any, _kwargs: Any) -> None:
        for group, rate in zip(stepped.param_groups, in_force(stepped, config), strict=True):
            for parameter in group["params"]:
                shrunk = torch.nn.functional.softshrink(parameter, rate * config.l1)
                parameter.copy_(shrunk)

    optimizer.register_step_post_hook(shrink)
