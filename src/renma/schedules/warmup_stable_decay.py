"""Rise, full rate, fall at the end (WSD, arXiv 2404.06395)."""

from __future__ import annotations

import math

from renma.config.schedule import WarmupStableDecay
from renma.schedules._warmup import rise


def factor(config: WarmupStableDecay, step: int, total: int, peak: float) -> float:  # noqa: ARG001 - one signature for all schedules
    """Returns the factor at a step; the rise and the fall share the lowest rate."""
    low = config.min_lr_ratio
    rising = rise(step, config.warmup(total))
    if rising is not None:
        return low + (1 - low) * rising
    decay = min(config.decay(total), total - config.warmup(total))
    begin = total - decay
    if step < begin:
        return 1.0
    if step >= total:
        return low
    return low + (1 - low) * _fall(config, (step - begin) / decay)


def _fall(config: WarmupStableDecay, done: float) -> float:
    """Returns 1 at the beginning of the fall, 0 at the end of a single one."""
    if config.decay_type == "linear":
        return 1 - done
    if config.decay_type == "1-sqrt":
        return 1 - math.sqrt(done)
    return 0.5 * (1 + math.cos(math.pi * config.num_cycles * done))
