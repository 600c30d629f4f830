"""Linear rise, then half a cosine wave to 0 (SGDR without restarts, arXiv 1608.03983)."""

from __future__ import annotations

import math

from renma.config.schedule import Cosine
from renma.schedules._warmup import progress, rise


def factor(config: Cosine, step: int, total: int, peak: float) -> float:  # noqa: ARG001 - one signature for all schedules
    """Returns the factor at a step."""
    warmup = config.warmup(total)
    rising = rise(step, warmup)
    if rising is not None:
        return rising
    return 0.5 * (1 + math.cos(math.pi * progress(step, warmup, total)))
