"""Options of ``renma prepare resize``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from renma.config._base import word
from renma.config.prepare._base import StepOptions
from renma.config.prepare._buckets import BucketOptions, refuse_idle
from renma.config.prepare._parsed import Color, Size
from renma.core.errors import UserError


class ResizeOptions(BucketOptions, StepOptions):
    """Options of ``renma prepare resize``."""

    size: Size | None = word(None)
    """Width and height to aim at, such as 512x512; one number means a square."""
    mode: Literal["fit", "cover", "pad", "stretch"] = "fit"
    """How a picture of another shape meets the size: fit stays inside it, cover fills it and cuts
    the middle out, pad stays inside and fills up with a colour, stretch distorts."""
    longest: int | None = Field(default=None, ge=1)
    """Aim at this many pixels on the longer side instead."""
    shortest: int | None = Field(default=None, ge=1)
    """Aim at this many pixels on the shorter side instead."""
    pixels: Size | None = word(None)
    """Aim at this area and keep the shape, such as 768x768."""
    buckets: Size | None = word(None)
    """Aim at the aspect bucket that a training at this resolution chooses, and cut what it would
    cut: what you see is what is trained. With --only-shrink as its bucket_no_upscale does."""
    multiple_of: int = Field(default=1, ge=1)
    """Cut each side to a multiple of this many pixels, around the middle."""
    only_shrink: bool = False
    """Leave pictures that are smaller than aimed at as they are: enlarging invents nothing."""
    color: Color = word("white")
    """What pad fills with: a name such as white, or #rrggbb."""
    resample: Literal["lanczos", "bicubic", "area", "nearest"] = "lanczos"
    """How new pixels are made of old ones; nearest is for pixel art."""
    linear: bool = False
    """Average light instead of stored values: fine bright lines keep their brightness."""

    @model_validator(mode="after")
    def _one_aim(self) -> ResizeOptions:
        names = ("size", "longest", "shortest", "pixels", "buckets")
        given = [name for name in names if getattr(self, name) is not None]
        if len(given) != 1:
            said = " and ".join(f"--{name}" for name in given) or "none of them"
            raise UserError(
                "one of --size, --longest, --shortest, --pixels and --buckets is needed, "
                f"given is {said}"
            )
        if self.mode != "fit" and self.size is None:
            raise UserError(f"--mode {self.mode} needs --size")
        if self.mode != "pad":
            refuse_idle(self, ["color"], "--mode pad")
        if self.buckets is None:
            refuse_idle(self, BucketOptions.model_fields, "--buckets")
        else:
            refuse_idle(self, ["multiple_of"], "--size, --longest, --shortest or --pixels")
        return self
