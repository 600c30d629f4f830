"""[schedule]: how the learning rate changes. One class per file in ``renma/schedules``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from renma.config._base import Section, default_tag, opt


class _Warmup(Section):
    """Warm-up that every schedule can start with."""

    warmup_steps: int | float = opt(0, kohya="lr_warmup_steps", ge=0, strict=None)
    """Steps of linear rise from 0; a number below 1 is a share of all steps."""

    def warmup(self, total: int) -> int:
        """Returns the warm-up in steps for a run of ``total`` steps."""
        share = isinstance(self.warmup_steps, float) and self.warmup_steps < 1
        return int(self.warmup_steps * total) if share else int(self.warmup_steps)


class Constant(Section):
    """The same rate all the time."""

    name: Literal["constant"] = "constant"
    """Schedule."""


class ConstantWithWarmup(_Warmup):
    """Linear rise, then the same rate."""

    name: Literal["constant_with_warmup"] = "constant_with_warmup"
    """Schedule."""


class Linear(_Warmup):
    """Falls in a straight line to 0."""

    name: Literal["linear"] = "linear"
    """Schedule."""


class Cosine(_Warmup):
    """Falls along half a cosine wave to 0."""

    name: Literal["cosine"] = "cosine"
    """Schedule."""


class CosineWithRestarts(_Warmup):
    """Falls along half a cosine wave, again and again from the top."""

    name: Literal["cosine_with_restarts"] = "cosine_with_restarts"
    """Schedule."""
    num_cycles: int = opt(..., kohya="lr_scheduler_num_cycles", ge=1)
    """How many times the rate falls; n cycles restart n - 1 times (1 is the plain cosine)."""


class Polynomial(_Warmup):
    """Falls as a power of the remaining share to (almost) 0."""

    name: Literal["polynomial"] = "polynomial"
    """Schedule."""
    power: float = opt(1.0, kohya="lr_scheduler_power", gt=0)
    """1 is a straight line, 2 falls faster at first."""
    end: float = opt(1e-7, "expert", ge=0, lt=1)
    """Rate at the end, as a learning rate (not a factor)."""


ScheduleConfig = Annotated[
    Constant | ConstantWithWarmup | Linear | Cosine | CosineWithRestarts | Polynomial,
    Field(discriminator="name"),
    default_tag("name", "constant"),
]
