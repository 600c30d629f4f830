"""Linear rise, then the reflected exponential (REX, arXiv 2107.04197): (1 - z) / (1 - z / 2)."""

from __future__ import annotations

from renma.config.schedule import Rex
from renma.schedules._warmup import progress, rise


def factor(config: Rex, step: int, total: int, peak: float) -> float:  # noqa: ARG001 - one signature for all schedules
    """Returns the factor at a step."""
    warmup = config.warmup(total)
    rising = rise(step, warmup)
    if rising is not None:
        return rising
    done = progress(step, warmup, total)
    low = config.min_lr_ratio
    return low + (1 - low) * (1 - done) / (1 - done / 2)
