"""A power of the remaining share, down to a small absolute rate."""

from __future__ import annotations

from renma.config.schedule import Polynomial
from renma.schedules._warmup import progress, rise


def factor(config: Polynomial, step: int, total: int, peak: float) -> float:
    """Returns the factor at a step; the last one gives the rate ``config.end``."""
    warmup = config.warmup(total)
    rising = rise(step, warmup)
    if rising is not None:
        return rising
    if peak <= config.end:
        return 1.0
    floor = config.end / peak
    return floor + (1 - floor) * (1 - progress(step, warmup, total)) ** config.power
