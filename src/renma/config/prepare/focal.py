"""Options of ``renma prepare focal``."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from renma.config._base import word
from renma.config.prepare._faces import FindsFaces
from renma.config.prepare._parsed import Size
from renma.core.errors import UserError


class FocalOptions(FindsFaces):
    """Options of ``renma prepare focal``."""

    beside: ClassVar[tuple[str, ...]] = ("overlay",)

    size: Size = word("512x512")
    """Width and height of the cut-outs: as much of the picture as this shape can hold."""
    face_weight: float = Field(default=0.9, ge=0)
    """How much faces draw the cut-out; 0 does not look for them."""
    corner_weight: float = Field(default=0.5, ge=0)
    """How much corners draw it: hands, eyes, ornaments, letters."""
    entropy_weight: float = Field(default=0.15, ge=0)
    """How much the part draws it that is richest in shades."""
    small: Literal["enlarge", "skip"] = "enlarge"
    """What becomes of pictures smaller than the size: enlarged, or left out and named."""
    overlay: Path | None = None
    """Write each picture with its points and its cut-out drawn in into this folder: faces red,
    corners blue, entropy yellow, the middle of the cut-out green. It must be empty, or the one of
    an earlier run."""

    @model_validator(mode="after")
    def _something_draws(self) -> FocalOptions:
        if not self.face_weight + self.corner_weight + self.entropy_weight:
            raise UserError("all three weights are 0: nothing says where to cut")
        unused = {"detector", "model", "score"} & self.model_fields_set
        if not self.face_weight and unused:
            raise UserError(f"--{min(unused)} has no effect with --face-weight 0")
        return self
