"""Adafactor's own rates: the optimizer computes them, nothing is left to do here."""

from __future__ import annotations

from renma.config.schedule import AdafactorOwn


def factor(config: AdafactorOwn, step: int, total: int, peak: float) -> float:  # noqa: ARG001 - one signature for all schedules
    """Returns 1."""
    return 1.0
