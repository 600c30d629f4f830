"""AdamW with 8-bit state in blocks (Dettmers et al., arXiv 2110.02861): bitsandbytes.

Tensors under 4096 elements keep 32-bit state, as bitsandbytes decides.
"""

from __future__ import annotations

from typing import Any

import torch

from renma.config.optimizer import AdamW8bit


def build(groups: list[dict[str, Any]], config: AdamW8bit) -> torch.optim.Optimizer:
    """Returns the optimizer; it runs on CPU and GPU."""
    from bitsandbytes.optim import AdamW8bit as Optimizer

    return Optimizer(
        groups,
        lr=config.learning_rate,
        betas=config.betas,
        eps=config.eps,
        weight_decay=config.weight_decay,
    )
