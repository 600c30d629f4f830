"""What all optimizer sections share: rates, L1, and how an option reaches the library's class.

A section is a row of facts: ``source`` is the class that is built, fields go to its arguments of
the same name (``names`` where they differ), ``more`` lists further arguments that ``args`` may
give. ``renma/optimizers`` reads nothing else, so a new optimizer is a new section.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import Field, field_validator, model_validator

from renma.config._base import Section, opt
from renma.core.errors import did_you_mean

Decay = Annotated[float, Field(ge=0, lt=1)]
Pair = tuple[Decay, Decay]
Triple = tuple[Decay, Decay, Decay]


@dataclass(frozen=True)
class Traits:
    """What an optimizer asks of the run around it."""

    one_rate: bool = False
    """All trained parts must have the same rate: it estimates one scale for everything."""
    finds_rate: bool = False
    """It estimates the step size; the learning rate is a factor on it, near 1."""
    own_schedule: str = ""
    """``relative_step`` (the rate follows from the step) or ``schedule_free``, else empty."""
    eval_mode: bool = False
    """Weights to save and to draw with differ from those that are stepped (schedule-free)."""
    paged: bool = False
    """State lies in paged memory, which only GPUs have."""


class Rates(Section):
    """Learning rates of the trained parts, the L1 penalty, and what else the class takes."""

    source: ClassVar[str] = ""
    """Dotted path of the optimizer class."""
    names: ClassVar[Mapping[str, str]] = {}
    """Our option to the library's argument, where the names differ."""
    always: ClassVar[Mapping[str, Any]] = {}
    """Arguments that are no option here."""
    more: ClassVar[tuple[str, ...]] = ()
    """Arguments of the class that only ``args`` gives."""
    kept: ClassVar[int] = 2
    """Numbers of state for each trained one."""
    usual: ClassVar[tuple[float, float]] = (1e-6, 1e-2)
    """Learning rates outside of this range are remarked on."""

    learning_rate: float = opt(1e-4, kohya="learning_rate", ge=0)
    """Step size; used for every part that has no rate of its own."""
    unet_lr: float | None = opt(None, kohya="unet_lr", ge=0, strict=True)
    """Step size of the U-Net; 0 leaves it untrained."""
    text_encoder_lr: float | None = opt(None, kohya="text_encoder_lr", ge=0, strict=True)
    """Step size of the text encoder (of both, where there are two); 0 leaves it untrained."""
    text_encoder_2_lr: float | None = opt(
        None, "advanced", kohya="text_encoder_lr", ge=0, strict=True
    )
    """Step size of SDXL's second text encoder (not set: that of the first); 0: untrained."""
    l1: float = opt(0.0, "advanced", ge=0)
    """L1 penalty: after each step every trained number moves by this times its learning rate to
    where it changes nothing and stays there once it arrives (soft threshold): mostly 0, for DoRA's
    magnitudes the base model's. It leaves few, large numbers."""
    args: dict[str, Any] = Field(
        default_factory=dict,
        json_schema_extra={"level": "expert", "kohya": "optimizer_args"},
    )
    """Further arguments of the library's class: `{d0 = 1e-5}`, or a list `["d0=1e-5"]`."""

    @property
    def traits(self) -> Traits:
        """What the optimizer asks of the run."""
        return Traits()

    def rate(self, part: str) -> float:
        """Returns the learning rate of `unet`, `text_encoder` or `text_encoder_2`."""
        if part == "unet":
            own = self.unet_lr
        elif part == "text_encoder_2" and self.text_encoder_2_lr is not None:
            own = self.text_encoder_2_lr
        else:
            own = self.text_encoder_lr
        return self.learning_rate if own is None else own

    def arguments(self) -> dict[str, Any]:
        """Returns the keyword arguments of ``source`` beside the parameters and their rates."""
        own = type(self).model_fields.keys() - _NOT_PASSED
        fields = {n: getattr(self, n) for n in type(self).model_fields if n in own}
        chosen = {self.names.get(n, n): v for n, v in fields.items() if v is not None}
        given = {k: tuple(v) if isinstance(v, list) else v for k, v in self.args.items()}
        return {**self.always, **chosen, **given}

    def state_bytes(self, shape: Sequence[int], from_zero: bool = False) -> int:  # noqa: ARG002 - Prodigy asks
        """Returns the bytes of state for a trained fp32 tensor.

        Args:
            shape: the tensor's.
            from_zero: it begins as zeros, of which some keep no copy.
        """
        return 4 * self.kept * math.prod(shape)

    @model_validator(mode="before")
    @classmethod
    def _lift(cls, raw: Any) -> Any:
        """Turns arguments that are options of their own here into those options."""
        if not isinstance(raw, dict):
            return raw
        raw = dict(raw)
        both = raw.get("text_encoder_lr")
        if isinstance(both, list | tuple) and len(both) == 2 and "text_encoder_2_lr" not in raw:
            raw["text_encoder_lr"], raw["text_encoder_2_lr"] = both
        args = _table(raw.get("args", {}))
        if not isinstance(args, dict):
            return raw
        ours = {cls.names.get(n, n): n for n in cls.model_fields if n not in _NOT_PASSED}
        for argument, name in ours.items():
            if argument not in args:
                continue
            if name in raw:
                raise ValueError(f"args.{argument} and {name} are the same option: give one")
            raw[name] = args.pop(argument)
        raw["args"] = args
        return raw

    @field_validator("args")
    @classmethod
    def _known(cls, args: dict[str, Any]) -> dict[str, Any]:
        for name in args:
            if cls.source and name not in cls.more:
                ours = [cls.names.get(n, n) for n in cls.model_fields if n not in _NOT_PASSED]
                hint = did_you_mean(name, [*cls.more, *ours])
                known = f"It takes {', '.join(cls.more)}" if cls.more else "It has no more"
                raise ValueError(
                    f"{cls.source.rsplit('.', 1)[-1]} takes no argument '{name}'. {hint or known}"
                )
        return args


class Decayed(Rates):
    """An optimizer with decay of the weights that is multiplied by the learning rate."""

    weight_decay: float = opt(0.01, "advanced", ge=0)
    """Decoupled decay: each step shrinks every weight by this share of the learning rate."""


class Either(Decayed):
    """An optimizer whose library knows both kinds of weight decay."""

    decoupled_weight_decay: bool = opt(True, "expert")
    """Decay apart from the gradient (AdamW). Off: L2, added to the gradient before it is scaled."""


_NOT_PASSED = frozenset(Rates.model_fields) | {"name", "class_path"}


def eight_bit(kept: int, shape: Sequence[int], least: int = 4096) -> int:
    """Returns the bytes of state in 8 bits: codes, and a scale for 256 of them.

    Tensors with fewer than ``least`` numbers keep 32 bits (bitsandbytes).
    """
    count = math.prod(shape)
    if count < least:
        return 4 * kept * count
    return kept * (count + 4 * math.ceil(count / 256))


def factored(shape: Sequence[int]) -> int:
    """Returns the numbers of a running square kept as a row and a column for each matrix."""
    *many, rows, columns = shape
    return math.prod(many) * (rows + columns)


def _table(given: Any) -> Any:
    """Returns the arguments as a table: sd-scripts' ``key=value`` list is one too."""
    if isinstance(given, dict):
        return dict(given)
    if not isinstance(given, list | tuple) or not all(isinstance(each, str) for each in given):
        return given
    return dict(_argument(each) for each in given)


def _argument(text: str) -> tuple[str, Any]:
    """Returns name and value of ``key=value``; the value is a Python literal."""
    name, sign, value = text.partition("=")
    if not sign or not name.strip():
        raise ValueError(f"'{text}' is not of the form key=value")
    try:
        return name.strip(), ast.literal_eval(value.strip())
    except (ValueError, SyntaxError):
        if value.strip().isidentifier():
            return name.strip(), value.strip()  # a bare word is a text
        raise ValueError(f"'{value}' of '{name}' is no Python value") from None
