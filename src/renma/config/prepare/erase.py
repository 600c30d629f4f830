"""Options of ``renma prepare erase``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from renma.config.prepare._base import StepOptions
from renma.core.errors import UserError

_NUMBER = r"\s*(\d+(?:\.\d+)?)(%?)\s*"
_BOX = re.compile(",".join([_NUMBER] * 4))


class EraseOptions(StepOptions):
    """Options of ``renma prepare erase``."""

    masks: Path | None = None
    """A folder of painted masks, named as the pictures are: white is erased, black stays."""
    box: tuple[str, ...] = ()
    """A place to erase in every picture: x,y,width,height in pixels or with % of the picture's
    size, such as 75%,92%,25%,8%; repeatable."""
    boxes: Path | None = None
    """A table (CSV) of places: picture,x,y,width,height, one a line, as many for a picture as it
    needs."""
    detect: Literal["corner-text"] | None = None
    """Look for lines of small writing in the corners, as signatures and site names are."""
    method: Literal["telea", "ns", "lama"] = "telea"
    """How the hole is filled: telea and ns continue what is around it and suit small holes; lama is
    a network that draws textures, its file is given with --model."""
    model: Path | None = None
    """The network for lama: big-lama as TorchScript (.pt) or as ONNX."""
    grow: int | None = Field(default=None, ge=0, le=200)
    """Pixels by which a hole is made larger, because letters have soft rims (default: 0.5 % of
    the shorter side, at least 3)."""
    feather: int | None = Field(default=None, ge=0, le=200)
    """Pixels over which new and old run into each other, inside what the hole grew by (default:
    half of that)."""

    @field_validator("box")
    @classmethod
    def _readable(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for each in value:
            if not _BOX.fullmatch(each):
                raise ValueError("is no place; write x,y,width,height, such as 10,20,100,40")
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> EraseOptions:
        if not (self.masks or self.box or self.boxes or self.detect):
            raise UserError(
                "nothing says what to erase",
                remedy="Give --masks, --box, --boxes or --detect corner-text.",
            )
        if self.method == "lama" and self.model is None:
            raise UserError("--method lama needs its network", remedy="Give it with --model FILE.")
        if self.method != "lama" and self.model is not None:
            raise UserError(f"--model has no effect with --method {self.method}")
        if self.grow is not None and self.feather is not None and self.feather > self.grow:
            raise UserError("--feather must not be more than --grow: the old would shine through")
        return self


def place(box: str, width: int, height: int) -> tuple[int, int, int, int]:
    """Returns left, top, right, bottom in pixels of a written place, clipped to the picture.

    Args:
        box: ``x,y,width,height``, each a number of pixels or with ``%``.
        width: of the picture.
        height: of the picture.

    Raises:
        UserError: it cannot be read, or lies wholly outside.
    """
    found = _BOX.fullmatch(box)
    if found is None:
        raise UserError(f"'{box}' is no place", remedy="Write x,y,width,height.")
    sides = (width, height, width, height)
    values = [
        float(number) * (side / 100 if percent else 1)
        for number, percent, side in zip(
            found.groups()[::2], found.groups()[1::2], sides, strict=True
        )
    ]
    left, top = max(0, round(values[0])), max(0, round(values[1]))
    right = min(width, round(values[0] + values[2]))
    bottom = min(height, round(values[1] + values[3]))
    if left >= right or top >= bottom:
        raise UserError(f"the place {box} lies outside of its {width}x{height} pixels")
    return left, top, right, bottom
