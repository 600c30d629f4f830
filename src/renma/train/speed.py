"""How fast this machine has trained before, for the next plan."""

from __future__ import annotations

import json
import os
from pathlib import Path

from renma.core.store import cache_folder, write_text

_GUESS_GFLOPS_PER_CORE = 35.0


def remember_speed(flops: float, seconds: float, precision: str) -> None:
    """Keeps the measured speed of this machine for the next plan.

    Args:
        flops: floating-point operations of one optimizer step.
        seconds: that it took.
        precision: of the frozen model's arithmetic.
    """
    if seconds > 0:
        write_text(_file(precision), json.dumps({"flops_per_second": flops / seconds}))


def speed(precision: str) -> tuple[float, bool]:
    """Returns operations per second, and whether they were measured here or are a guess."""
    try:
        return float(json.loads(_file(precision).read_text())["flops_per_second"]), True
    except (OSError, ValueError, KeyError):
        return _GUESS_GFLOPS_PER_CORE * 1e9 * (os.cpu_count() or 1), False


def _file(precision: str) -> Path:
    return cache_folder() / "speed" / f"{precision}-{os.cpu_count()}.json"
