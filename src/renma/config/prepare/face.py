"""Options of ``renma prepare face``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from renma.config._base import word
from renma.config.prepare._faces import FindsFaces
from renma.config.prepare._parsed import Color, Size
from renma.core.errors import UserError

_RATIOS = {"square": 1.0, "portrait": 0.75}


class FaceOptions(FindsFaces):
    """Options of ``renma prepare face``."""

    faces: Literal["best", "all"] = "best"
    """Which faces to cut out where there are several: the surest and largest, or all of them."""
    margin: float = Field(default=2.0, ge=1, le=10)
    """How many times as large as the face the cut-out is: 1 is the bare face, 1.5 takes hair and
    chin, 2 the whole head, 3 the shoulders too."""
    hair: float = Field(default=0.15, ge=-1, le=1)
    """How far the cut-out is moved up, in heights of the face: there is more hair than neck."""
    shape: Literal["square", "portrait", "free"] = "square"
    """Width to height: square, portrait (3 to 4), or free, as the face itself is. With --size its
    shape counts."""
    border: Literal["shift", "shrink", "pad"] = "shift"
    """What happens where the cut-out would reach over the picture's border: shift moves it inside
    (and makes it smaller only where the picture is too small), shrink makes it smaller around the
    face, pad fills up with --color, or with nothing where the picture is transparent."""
    color: Color = word("white")
    """What pad fills with: a name such as white, or #rrggbb."""
    min_size: int = Field(default=64, ge=1)
    """Cut-outs whose shorter side has fewer pixels, before --size, are left out and named."""
    size: Size | None = word(None)
    """Bring every cut-out to this width and height, such as 512x512 (default: as cut)."""
    keep_original: bool = False
    """Put the whole picture beside its cut-outs, which then end in -face."""
    missing: Literal["skip", "copy", "focal"] = "skip"
    """What becomes of pictures without a face: left out and named, copied whole, or cut around
    what draws the eye otherwise (corners and detail, as prepare focal does)."""

    @property
    def ratio(self) -> float | None:
        """Returns width to height of the cut-outs, or None for that of the face."""
        if self.size is not None:
            return self.size[0] / self.size[1]
        return _RATIOS.get(self.shape)

    @model_validator(mode="after")
    def _one_shape(self) -> FaceOptions:
        given = {"shape", "size"} <= self.model_fields_set and self.size is not None
        if given and self.ratio != _RATIOS.get(self.shape):
            width, height = self.size or (0, 0)
            raise UserError(
                f"--shape {self.shape} and --size {width}x{height} are two shapes",
                remedy="Leave --shape out: the size says it.",
            )
        if "color" in self.model_fields_set and self.border != "pad":
            raise UserError("--color has no effect without --border pad")
        return self
