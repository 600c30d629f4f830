"""[schedule]: how the learning rate changes. One class per file in ``renma/schedules``."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator

from renma.config._base import Section, default_tag, opt


def _percent(value: Any) -> Any:
    """Turns ``"10%"`` into the share 0.1; a number with a fraction must be a share."""
    if isinstance(value, str) and (match := re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*%\s*", value)):
        value = float(match[1]) / 100
    if isinstance(value, float) and value > 1:
        if not value.is_integer():
            raise ValueError("a share is at most 1 (or 100%), steps are whole")
        value = int(value)
    return value


_Whole = Annotated[int, Field(strict=True)]
_Share = Annotated[float, Field(strict=True)]
Steps = Annotated[_Whole | _Share, BeforeValidator(_percent)]
"""A number of steps, or a share of all steps up to 1.0."""


def steps_of(value: float, total: int) -> int:
    """Returns a number of steps from one, or from a share of ``total``."""
    return int(value * total) if isinstance(value, float) else value


class _Warmup(Section):
    """Warm-up that every schedule can start with."""

    warmup_steps: Steps = opt(0, kohya="lr_warmup_steps", ge=0, strict=None)
    """Steps of linear rise from 0; up to 1.0, or as `"10%"`, a share of all steps."""

    def warmup(self, total: int) -> int:
        """Returns the warm-up in steps for a run of ``total`` steps."""
        return steps_of(self.warmup_steps, total)


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


class InverseSqrt(_Warmup):
    """Falls as one over the square root of the step, quickly at first, never to 0."""

    name: Literal["inverse_sqrt"] = "inverse_sqrt"
    """Schedule."""
    timescale: int | None = opt(None, "advanced", kohya="lr_scheduler_timescale", ge=1, strict=True)
    """Steps after the warm-up in which the rate falls to 0.71; not set: the warm-up's length, or
    10000 without one."""


class CosineWithMinLr(_Warmup):
    """Falls along half a cosine wave to a share of the full rate."""

    name: Literal["cosine_with_min_lr"] = "cosine_with_min_lr"
    """Schedule."""
    min_lr_ratio: float = opt(0.1, kohya="lr_scheduler_min_lr_ratio", ge=0, le=1)
    """Lowest rate as a share of the full one."""
    num_cycles: int = opt(1, "expert", kohya="lr_scheduler_num_cycles", ge=1)
    """Half waves: 1 falls, 2 falls and rises again, 3 falls twice."""


class WarmupStableDecay(_Warmup):
    """Linear rise, the full rate for most of the time, a fall at the end."""

    name: Literal["warmup_stable_decay"] = "warmup_stable_decay"
    """Schedule."""
    decay_steps: Steps = opt(0.2, kohya="lr_decay_steps", ge=0, strict=None)
    """Steps of the fall at the end; up to 1.0, or as `"20%"`, a share of all steps."""
    min_lr_ratio: float = opt(0.0, kohya="lr_scheduler_min_lr_ratio", ge=0, le=1)
    """Rate at the start and at the end as a share of the full one."""
    decay_type: Literal["cosine", "linear", "1-sqrt"] = opt("cosine", "advanced")
    """Form of the fall."""
    num_cycles: int = opt(1, "expert", kohya="lr_scheduler_num_cycles", ge=1)
    """Half waves of a cosine fall: 1 falls, 2 falls and rises again."""

    def decay(self, total: int) -> int:
        """Returns the length of the fall in steps for a run of ``total`` steps."""
        return steps_of(self.decay_steps, total)


class PiecewiseConstant(Section):
    """Stairs: a factor for each stretch of steps."""

    name: Literal["piecewise_constant"] = "piecewise_constant"
    """Schedule."""
    step_rules: str = opt(..., kohya="lr_scheduler_args")
    """`factor:end` for each stretch and the factor afterwards: `"1:500,0.1:800,0.01"` is the full
    rate before step 500, a tenth of it before step 800, then a hundredth."""

    @field_validator("step_rules")
    @classmethod
    def _sensible(cls, text: str) -> str:
        stairs(text)
        return text


class AdafactorOwn(Section):
    """Adafactor's own rates: for `optimizer.name = "adafactor"` with `relative_step`."""

    name: Literal["adafactor"] = "adafactor"
    """Schedule."""


class Rex(_Warmup):
    """Stays high and falls late (REX, arXiv 2107.04197)."""

    name: Literal["rex"] = "rex"
    """Schedule."""
    min_lr_ratio: float = opt(0.0, "advanced", ge=0, le=1)
    """Rate at the end as a share of the full one."""


class JaggedCosine(_Warmup):
    """Half a cosine wave that rises from 0 again at every merge of ReLoRA (arXiv 2307.05695)."""

    name: Literal["jagged_cosine"] = "jagged_cosine"
    """Schedule."""
    cycle_steps: int = opt(..., ge=1)
    """Steps from one rise to the next: `relora.every_steps`."""
    restart_warmup_steps: int = opt(10, ge=0)
    """Steps of each of these rises; the first one has `warmup_steps`."""
    min_lr_ratio: float = opt(0.1, ge=0, le=1)
    """Rate at the end as a share of the full one."""


class CustomSchedule(Section):
    """Any learning-rate scheduler class of torch's kind by its dotted path.

    It is played through once at the start, so only the count of steps may decide.
    """

    name: Literal["custom"] = "custom"
    """Schedule."""
    class_path: str = opt(
        ..., kohya="lr_scheduler_type", pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)+$"
    )
    """Package and class: `torch.optim.lr_scheduler.CosineAnnealingWarmRestarts`."""
    args: dict[str, Any] = Field(
        default_factory=dict,
        json_schema_extra={"level": "basic", "kohya": "lr_scheduler_args"},
    )
    """Its arguments: `{T_0 = 100}`."""


def stairs(text: str) -> tuple[list[tuple[int, float]], float]:
    """Returns the stretches (end, factor) of a rule text and the factor after the last.

    Raises:
        ValueError: it is not of the form ``1:10,0.1:20,0.01``.
    """
    *parts, last = [part.strip() for part in text.split(",")]
    try:
        pairs = [part.split(":") for part in parts]
        rules = [(int(end), float(factor)) for factor, end in pairs]
        final = float(last)
    except ValueError:
        raise ValueError("is not of the form 1:10,0.1:20,0.01 (factor:end, ..., factor)") from None
    ends = [end for end, _ in rules]
    if ends != sorted(set(ends)) or any(end < 1 for end in ends):
        raise ValueError("the ends of the stretches must rise, counted from the first step")
    if any(not 0 <= factor < float("inf") for _, factor in [*rules, (0, final)]):
        raise ValueError("a factor is a number of at least 0")
    return rules, final


ScheduleConfig = Annotated[
    Constant
    | ConstantWithWarmup
    | Linear
    | Cosine
    | CosineWithRestarts
    | Polynomial
    | InverseSqrt
    | CosineWithMinLr
    | WarmupStableDecay
    | PiecewiseConstant
    | AdafactorOwn
    | Rex
    | JaggedCosine
    | CustomSchedule,
    Field(discriminator="name"),
    default_tag("name", "constant"),
]
