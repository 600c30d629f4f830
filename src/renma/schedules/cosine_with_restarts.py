"""Half a cosine wave again and again from the top (SGDR, arXiv 1608.03983)."""

from __future__ import annotations

import math

from renma.config.schedule import CosineWithRestarts
from renma.schedules._warmup import progress, rise


def factor(config: CosineWithRestarts, step: int, total: int, peak: float) -> float:  # noqa: ARG001 - one signature for all schedules
    """Returns the factor at a step; 0 at the very end."""
    warmup = config.warmup(total)
    rising = rise(step, warmup)
    if rising is not None:
        return rising
    done = progress(step, warmup, total)
    if done >= 1:
        return 0.0
    return 0.5 * (1 + math.cos(math.pi * ((config.num_cycles * done) % 1.0)))
