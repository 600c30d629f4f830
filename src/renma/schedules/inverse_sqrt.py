"""Linear rise, then one over the square root of the time (arXiv 2106.04560)."""

from __future__ import annotations

import math

from renma.config.schedule import InverseSqrt
from renma.schedules._warmup import rise

_UNSET = 10_000
"""Time scale where neither it nor a warm-up is given."""


def factor(config: InverseSqrt, step: int, total: int, peak: float) -> float:  # noqa: ARG001 - one signature for all schedules
    """Returns the factor at a step."""
    warmup = config.warmup(total)
    rising = rise(step, warmup)
    scale = config.timescale or warmup or _UNSET
    return math.sqrt(scale / (step - warmup + scale)) if rising is None else rising
