"""Linear rise, then a straight line to 0 at the last step."""

from __future__ import annotations

from renma.config.schedule import Linear
from renma.schedules._warmup import progress, rise


def factor(config: Linear, step: int, total: int, peak: float) -> float:  # noqa: ARG001 - one signature for all schedules
    """Returns the factor at a step."""
    warmup = config.warmup(total)
    rising = rise(step, warmup)
    return 1.0 - progress(step, warmup, total) if rising is None else rising
