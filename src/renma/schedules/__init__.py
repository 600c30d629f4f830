"""Learning-rate schedules: pure functions of the step, one per file (no torch).

A schedule without state resumes by itself and can be drawn before anything is trained.
"""

from __future__ import annotations

from collections.abc import Callable

from renma.config.run import Run
from renma.config.schedule import ScheduleConfig
from renma.core import registry

Factor = Callable[[int], float]


def build(config: ScheduleConfig, total: int, peak: float = 1.0) -> Factor:
    """Returns the factor on the learning rate for step 0, 1, ... of ``total`` steps.

    Args:
        config: the schedule's section.
        total: optimizer steps of the run.
        peak: the learning rate at factor 1 (some schedules end at an absolute rate).
    """
    module = registry.load(__name__, config.name)

    def factor(step: int) -> float:
        return module.factor(config, min(step, total), total, peak)

    return factor


def of_run(run: Run, total: int, peak: float = 1.0) -> Factor:
    """Returns the factor of a run's schedule, times ReLoRA's for the cycle that a step lies in.

    Args:
        run: the run.
        total: its optimizer steps.
        peak: the learning rate at factor 1.
    """
    plain, cycles = build(run.schedule, total, peak), run.relora

    def factor(step: int) -> float:
        return plain(step) * cycles.rate_factor ** cycles.cycle(min(step, total - 1))

    return factor
