"""Stairs: a factor for each stretch of steps."""

from __future__ import annotations

from renma.config.schedule import PiecewiseConstant, stairs


def factor(config: PiecewiseConstant, step: int, total: int, peak: float) -> float:  # noqa: ARG001 - one signature for all schedules
    """Returns the factor at a step."""
    rules, last = stairs(config.step_rules)
    return next((value for end, value in rules if step < end), last)
