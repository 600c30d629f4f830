"""The same rate all the time."""

from __future__ import annotations

from renma.config.schedule import Constant


def factor(config: Constant, step: int, total: int, peak: float) -> float:  # noqa: ARG001 - one signature for all schedules
    """Returns 1."""
    return 1.0
