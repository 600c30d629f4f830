"""Prodigy (Mishchenko and Defazio, arXiv 2306.06101): prodigyopt.

All groups share one estimated step size and must have the same learning rate.
"""

from __future__ import annotations

from typing import Any

import torch

from renma.config.optimizer import Prodigy


def build(groups: list[dict[str, Any]], config: Prodigy) -> torch.optim.Optimizer:
    """Returns the optimizer."""
    from prodigyopt import Prodigy as Optimizer

    return Optimizer(
        groups,
        lr=config.learning_rate,
        betas=config.betas,
        weight_decay=config.weight_decay,  # pyright: ignore[reportArgumentType]
        d_coef=config.d_coef,
        decouple=True,
        safeguard_warmup=config.safeguard_warmup,
        use_bias_correction=config.use_bias_correction,
    )
