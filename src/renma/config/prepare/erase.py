"""Options of ``renma prepare erase``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from renma.config.prepare._base import StepOptions
from renma.config.prepare._place import Place, read_place
from renma.core.errors import UserError


class EraseOptions(StepOptions):
    """Options of ``renma prepare erase``."""

    masks: Path | None = None
    """A folder of painted masks, named as the pictures are: white is erased, black stays."""
    box: tuple[str, ...] = ()
    """A place to erase in every picture: left,top,width,height in pixels, with % of the picture's
    size such as 75%,92%,25%,8%, or as four shares up to 1; what lies beyond a picture is no
    matter; repeatable."""
    boxes: Path | None = None
    """A list of places: name, left, top, width, height, as CSV, JSON or TOML, as many for a picture
    as it needs; one that reaches beyond its picture is told and that picture left out."""
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
            try:
                read_place(each.split(","))
            except UserError as error:
                raise ValueError(f"{error.what}; write 10,20,100,40 or 75%,92%,25%,8%") from None
        return value

    @property
    def places(self) -> tuple[Place, ...]:
        """Returns what --box says, read."""
        return tuple(read_place(each.split(","), f"--box {each}") for each in self.box)

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
