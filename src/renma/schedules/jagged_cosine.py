"""Half a cosine wave with a short linear rise after every merge (ReLoRA, arXiv 2307.05695)."""

from __future__ import annotations

import math

from renma.config.schedule import JaggedCosine
from renma.schedules._warmup import progress, rise


def factor(config: JaggedCosine, step: int, total: int, peak: float) -> float:  # noqa: ARG001 - one signature for all schedules
    """Returns the factor at a step.

    A rise begins at 0 and aims at what the wave has where it ends, as in the authors' code; their
    shift for runs that go on from full training is not needed here.
    """
    warmup = config.warmup(total)
    rising = rise(step, warmup)
    if rising is not None:
        return rising
    since = step % config.cycle_steps
    if step >= config.cycle_steps and since < config.restart_warmup_steps:
        aim = step - since + config.restart_warmup_steps
        return since / config.restart_warmup_steps * _wave(config, aim, warmup, total)
    return _wave(config, step, warmup, total)


def _wave(config: JaggedCosine, step: int, warmup: int, total: int) -> float:
    done = progress(step, warmup, total)
    low = config.min_lr_ratio
    return low + (1 - low) * 0.5 * (1 + math.cos(math.pi * done))
