"""Options of ``renma prepare augment``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from renma.config._base import word
from renma.config.prepare._base import StepOptions
from renma.config.prepare._buckets import refuse_idle
from renma.config.prepare._parsed import Size
from renma.core.errors import UserError

JITTER = ("brightness", "contrast", "saturation", "hue", "gamma")


class AugmentOptions(StepOptions):
    """Options of ``renma prepare augment``."""

    flip: bool = False
    """Add a mirrored copy. Not for characters that are not symmetric (a scar, a parting, a heart
    on the left), nor for pictures with writing."""
    flip_captions: Literal["swap", "skip", "keep"] = "swap"
    """What becomes of captions that say left or right: swap exchanges the words, skip mirrors no
    such picture, keep leaves them wrong."""
    rotate: float = Field(default=0.0, ge=0, le=45)
    """Add copies turned by up to this many degrees, cut to the largest rectangle without empty
    corners: ten degrees cost a third of a square picture, so this is for large ones."""
    random_crop: float = Field(default=0.0, ge=0, lt=1)
    """Add copies of a random part whose sides are at least this share of the picture's, such as
    0.8."""
    crops: int = Field(default=0, ge=0, le=64)
    """Add up to so many parts of --crop-size or more, as far from each other as possible; only of
    pictures that are larger than that by half."""
    crop_size: Size = word("512x512")
    """With --crops: the least width and height of a part; its shape is kept."""
    brightness: float = Field(default=0.0, ge=0, le=2)
    """Add copies brighter or darker by up to so many stops (1 doubles the light). All changes of
    colour are for pictures of a subject: a style is made of its colours."""
    contrast: float = Field(default=0.0, ge=0, lt=1)
    """Add copies with up to this share more or less contrast, around the picture's mean."""
    saturation: float = Field(default=0.0, ge=0, le=1)
    """Add copies with up to this share more or less colour; the light stays the same."""
    hue: float = Field(default=0.0, ge=0, le=180)
    """Add copies with colours turned by up to so many degrees; the light stays the same."""
    gamma: float = Field(default=0.0, ge=0, lt=1)
    """Add copies with midtones lighter or darker by up to this share; black and white stay."""
    count: int = Field(default=1, ge=1, le=64)
    """How many copies --rotate, --random-crop and the colours make of each picture."""
    copies_only: bool = False
    """Leave the pictures themselves out of the new folder."""
    seed: int = Field(default=0, ge=0)
    """Another number draws other copies. What is drawn depends on it and on the picture alone."""

    @property
    def jitters(self) -> bool:
        """Says whether colours are changed."""
        return any(getattr(self, name) for name in JITTER)

    @model_validator(mode="after")
    def _something(self) -> AugmentOptions:
        drawn = bool(self.rotate or self.random_crop or self.jitters)
        if not (self.flip or self.crops or drawn):
            raise UserError(
                "nothing says what copies to make",
                remedy="Give --flip, --rotate, --random-crop, --crops, or a change of colour.",
            )
        if not self.flip:
            refuse_idle(self, ["flip_captions"], "--flip")
        if not self.crops:
            refuse_idle(self, ["crop_size"], "--crops")
        if not drawn:
            refuse_idle(self, ["count"], "--rotate, --random-crop or a change of colour")
        if not (drawn or self.crops):
            refuse_idle(self, ["seed"], "--rotate, --random-crop, --crops or a change of colour")
        return self
