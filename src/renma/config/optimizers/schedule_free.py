"""Optimizers that average their way instead of lowering the rate (arXiv 2405.15682).

The weights that are stepped are not those to use: the loop asks for the averaged ones before it
saves, draws or validates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, Literal

from renma.config._base import opt
from renma.config.optimizers._base import Decay, Decayed, Pair, Traits, factored


class _ScheduleFree(Decayed):
    """An optimizer that needs no falling learning rate."""

    usual: ClassVar = (1e-5, 1e-1)
    learning_rate: float = opt(1e-3, kohya="learning_rate", ge=0)
    """Step size; it is never lowered, and takes a few times that of AdamW."""
    weight_decay: float = opt(0.0, "advanced", ge=0)
    """Decay, multiplied by the learning rate."""

    @property
    def traits(self) -> Traits:
        """It replaces the schedule and has weights of its own for use."""
        return Traits(own_schedule="schedule_free", eval_mode=True)


class AdamWScheduleFree(_ScheduleFree):
    """AdamW without a schedule (schedulefree)."""

    source: ClassVar = "schedulefree.AdamWScheduleFree"
    more: ClassVar = ("warmup_steps", "r", "weight_lr_power")
    name: Literal["adamwschedulefree"] = "adamwschedulefree"
    """Optimizer."""
    betas: Pair = opt((0.9, 0.999), "advanced")
    """Share of the average in the weights that are stepped, and decay of the running square."""
    eps: float = opt(1e-8, "expert", gt=0)
    """Added to the denominator."""


class RAdamScheduleFree(_ScheduleFree):
    """RAdam without a schedule or a warm-up (schedulefree)."""

    source: ClassVar = "schedulefree.RAdamScheduleFree"
    more: ClassVar = ("r", "weight_lr_power", "silent_sgd_phase")
    name: Literal["radamschedulefree"] = "radamschedulefree"
    """Optimizer."""
    betas: Pair = opt((0.9, 0.999), "advanced")
    """Share of the average in the weights that are stepped, and decay of the running square."""
    eps: float = opt(1e-8, "expert", gt=0)
    """Added to the denominator."""


class SGDScheduleFree(_ScheduleFree):
    """Gradient descent without a schedule (schedulefree)."""

    source: ClassVar = "schedulefree.SGDScheduleFree"
    kept: ClassVar = 1
    more: ClassVar = ("warmup_steps", "r", "weight_lr_power")
    usual: ClassVar = (1e-4, 1e3)
    name: Literal["sgdschedulefree"] = "sgdschedulefree"
    """Optimizer."""
    learning_rate: float = opt(1.0, kohya="learning_rate", ge=0)
    """Step size; gradients are not rescaled, so far more than AdamW's is needed."""
    momentum: Decay = opt(0.9, "advanced")
    """Share of the average in the weights that are stepped."""


class ProdigyPlusScheduleFree(Decayed):
    """Prodigy and schedule-free in one, with factored state and capped steps (LoganBooker)."""

    source: ClassVar = "prodigyplus.ProdigyPlusScheduleFree"
    more: ClassVar = (
        "beta3", "d_limiter", "factored_fp32", "prodigy_steps", "schedulefree_c",
        "split_groups_mean", "use_adopt", "use_bias_correction", "use_cautious", "use_focus",
        "use_grams", "use_orthograd", "use_speed", "weight_decay_by_lr",
    )  # fmt: skip
    usual: ClassVar = (0.1, 10.0)
    name: Literal["prodigyplusschedulefree"] = "prodigyplusschedulefree"
    """Optimizer."""
    learning_rate: float = opt(1.0, kohya="learning_rate", ge=0)
    """A factor on the step size that is found; leave it at 1."""
    weight_decay: float = opt(0.0, "advanced", ge=0)
    """Decoupled decay, multiplied by the found step size."""
    betas: Pair = opt((0.9, 0.99), "advanced")
    """Share of the average in the weights that are stepped, and decay of the running square."""
    eps: float = opt(1e-8, "expert", gt=0)
    """Added to the denominator."""
    d0: float = opt(1e-6, "advanced", gt=0)
    """First guess of the step size."""
    d_coef: float = opt(1.0, "advanced", gt=0)
    """Factor on the found step size; below 1 is more careful."""
    split_groups: bool = opt(True, "advanced")
    """Find a step size for each trained part, not one for all."""
    factored: bool = opt(True, "expert")
    """Keep the running square as a row and a column a matrix, as Adafactor does."""
    use_stableadamw: bool = opt(True, "expert")
    """Cap each tensor's step."""
    use_schedulefree: bool = opt(True, "expert")
    """Average instead of needing a schedule; off is Prodigy with smaller state."""

    @property
    def traits(self) -> Traits:
        """It finds a rate for each part and, unless told otherwise, replaces the schedule."""
        free = self.use_schedulefree
        own = "schedule_free" if free else ""
        return Traits(finds_rate=True, own_schedule=own, eval_mode=free)

    def state_bytes(self, shape: Sequence[int], from_zero: bool = False) -> int:
        """Returns the bytes of state; the estimate looks at each 11th number, in bfloat16."""
        count = math.prod(shape)
        matrix = self.factored and len(shape) > 1 and max(shape) >= 32
        square = factored(sorted(shape)) if matrix else count
        return 4 * (count + square) + 2 * math.ceil(count / 11) * (1 if from_zero else 2)
