"""Linear rise, then the same rate."""

from __future__ import annotations

from renma.config.schedule import ConstantWithWarmup
from renma.schedules._warmup import rise


def factor(config: ConstantWithWarmup, step: int, total: int, peak: float) -> float:  # noqa: ARG001 - one signature for all schedules
    """Returns the factor at a step."""
    rising = rise(step, config.warmup(total))
    return 1.0 if rising is None else rising
