"""Options of ``renma prepare repeat``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from renma.config._base import Section, argument, short
from renma.core.errors import UserError


class RepeatOptions(Section):
    """Options of ``renma prepare repeat``."""

    made: Path = argument()
    """A folder that a step made. It is made again as it was told then, and before it the folders of
    steps that it was made from, up to the originals."""
    out: Path | None = short("-o", None)
    """Make everything anew: the last folder under this name, those before it beside it (default: in
    the same folders, only what is missing or whose original changed)."""
    originals: Path | None = None
    """Where the originals are now, if they were moved; with -o, also other pictures to do the same
    to."""
    save_masks: Path | None = None
    """Where a step puts its masks this time. Needed where it wrote some, unless it goes on in the
    folders of then: a record alone does not say where to write."""
    overlay: Path | None = None
    """The same for the overlays of prepare focal."""
    show: bool = False
    """Only print the steps, as commands that could be typed."""
    executor: Literal["processes", "serial", "ray"] | None = None
    """Who does the work (default: as then)."""
    workers: int | None = Field(default=None, ge=1)
    """How many pictures are worked on at a time (default: as then)."""

    @model_validator(mode="after")
    def _apart(self) -> RepeatOptions:
        if self.out is not None and self.out.resolve() == self.made.resolve():
            raise UserError("-o is the folder itself", remedy="Leave it out to go on in it.")
        if self.show and (self.executor or self.workers):
            raise UserError("--executor and --workers have no effect with --show")
        return self
