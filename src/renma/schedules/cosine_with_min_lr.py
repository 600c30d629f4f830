"""Linear rise, then half cosine waves between the full rate and a share of it."""

from __future__ import annotations

import math

from renma.config.schedule import CosineWithMinLr
from renma.schedules._warmup import progress, rise


def factor(config: CosineWithMinLr, step: int, total: int, peak: float) -> float:  # noqa: ARG001 - one signature for all schedules
    """Returns the factor at a step."""
    warmup = config.warmup(total)
    rising = rise(step, warmup)
    if rising is not None:
        return rising
    wave = 0.5 * (1 + math.cos(math.pi * config.num_cycles * progress(step, warmup, total)))
    return config.min_lr_ratio + (1 - config.min_lr_ratio) * wave
