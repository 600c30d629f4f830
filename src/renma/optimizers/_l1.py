"""L1 penalty as a proximal step: p <- c + sign(p - c) max(|p - c| - rate * l1, 0).

c is the value that changes nothing: 0 for almost everything that is trained, the frozen weight's
norms for DoRA's magnitudes, their own start for factors that began with a part of the weight
(PiSSA, OLoRA). Towards 0 the latter would be driven away from the base model, not to it.

Soft thresholding after the step (Parikh and Boyd, Proximal Algorithms, 2014, section 6.5.2) is to
L1 what decoupled decay is to L2: no optimizer rescales it, and weights become exactly 0, which a
subgradient never does. A gradient that adds up in an undamped momentum (SGD) weighs
1 / (1 - momentum) times more against it, as it does against decoupled decay.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softshrink
from torch.optim import Optimizer

from renma.config.optimizers._base import Rates
from renma.optimizers._rates import in_force


def attach(
    optimizer: Optimizer, config: Rates, unchanged: Iterable[tuple[Tensor, Tensor]] = ()
) -> None:
    """Lets every step of the optimizer end with the shrinking.

    Args:
        optimizer: its parameters are shrunk.
        config: the strength.
        unchanged: parameters whose c is not 0, with their c.
    """
    centres = {id(parameter): centre for parameter, centre in unchanged}

    @torch.no_grad()
    def shrink(stepped: Optimizer, _args: Any, _kwargs: Any) -> None:
        for group, rate in zip(stepped.param_groups, in_force(stepped, config), strict=True):
            for parameter in group["params"]:
                centre = centres.get(id(parameter))
                if centre is None:
                    parameter.copy_(softshrink(parameter, rate * config.l1))
                else:
                    parameter.copy_(centre + softshrink(parameter - centre, rate * config.l1))

    optimizer.register_step_post_hook(shrink)
