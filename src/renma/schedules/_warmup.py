"""The linear rise that schedules share."""

from __future__ import annotations


def rise(step: int, warmup: int) -> float | None:
    """Returns step / warmup while warming up, None afterwards."""
    return step / warmup if step < warmup else None


def progress(step: int, warmup: int, total: int) -> float:
    """Returns how much of the time after the warm-up has passed, 0 to 1."""
    return min(1.0, (step - warmup) / max(1, total - warmup))
