"""What every verb of ``renma prepare`` can be told."""

from __future__ import annotations

import math
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from renma.config._base import Section, argument, short
from renma.core.errors import UserError

Executor = Literal["processes", "serial", "ray"]


class Spread(Section):
    """How work on many pictures is spread."""

    executor: Executor = "processes"
    """Who does the work: processes of this machine, this process alone, or a Ray cluster."""
    workers: int | None = Field(default=None, ge=1)
    """How many pictures are worked on at a time (default: one for each processor core)."""


class StepOptions(Spread):
    """Options of a step that makes a new folder of pictures out of one."""

    beside: ClassVar[tuple[str, ...]] = ()
    """Names of the options that are further folders to write into."""

    folder: Path = argument()
    """The folder of pictures; the folders inside it are taken too. It is never changed."""
    out: Path | None = short("-o", None)
    """The folder to make (default: a neighbour of FOLDER with the verb at the end of its name).
    Pictures that it already holds from the same step are not made again."""
    format: Literal["png", "jpeg", "webp", "same"] = "png"
    """What the pictures are saved as; same keeps what the original is."""
    quality: int = Field(default=95, ge=1, le=100)
    """Of JPEG and WebP; WebP at 100 loses nothing."""
    max_pixels: int = Field(default=64_000_000, ge=1)
    """Pictures with more are left out and named: a small file can hold a huge one."""
    dry_run: bool = False
    """Only say what would be done."""

    @model_validator(mode="after")
    def _size_allowed(self) -> StepOptions:
        """Refuses what no machine should try to hold; pictures are not needed to see it."""
        size = getattr(self, "size", None)
        # fit stays inside its size and is limited by each picture's own result
        if size is None or getattr(self, "mode", None) == "fit":
            return self
        if math.prod(size) > self.max_pixels:
            raise UserError(
                f"--size {size[0]}x{size[1]} is more than --max-pixels {self.max_pixels:,} allows",
                remedy="Write a smaller --size, or raise --max-pixels.",
            )
        return self
