"""Options of ``renma prepare background``."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, TypeAdapter, field_validator, model_validator

from renma.config.prepare._base import StepOptions
from renma.config.prepare._parsed import Color
from renma.core.errors import UserError

_COLOR: TypeAdapter[tuple[int, int, int]] = TypeAdapter(Color)
TRANSPARENT = "transparent"


class BackgroundOptions(StepOptions):
    """Options of ``renma prepare background``."""

    beside: ClassVar[tuple[str, ...]] = ("save_masks",)

    color: str = "white"
    """What the background becomes: white, another name or #rrggbb, or transparent."""
    backend: Literal["auto", "alpha", "flat", "person", "grabcut", "onnx"] = "auto"
    """How the subject is found. alpha: the picture's own transparency; flat: what stands out from
    a border of one colour; person: the shipped network for people; grabcut: colours, started from
    that network; onnx: the network of --model; auto: the first of alpha, flat, and then --model or
    grabcut that suits the picture. The record names the one that was taken."""
    model: Path | None = None
    """A network as ONNX file: rembg's u2net, u2netp, u2net_human_seg, silueta, isnet-general-use,
    isnet-anime or birefnet, or imgly's IS-Net."""
    model_kind: Literal["auto", "u2net", "isnet", "isnet-anime", "birefnet", "imgly", "selfie"] = (
        "auto"
    )
    """Which sort of network the file is, where its name and shape do not tell."""
    threshold: float | None = Field(default=None, gt=0, le=1)
    """How sure a pixel must be the subject; higher keeps less (default: 0.5, and soft edges as they
    are where transparency or a plain background tells them)."""
    edge: int | None = Field(default=None, ge=0, le=200)
    """How many pixels the found edge may lie beside the true one: it is fitted to the picture
    within them; 0 leaves it hard (default: a sixtieth of the shorter side)."""
    specks: float = Field(default=0.001, ge=0, lt=1)
    """Parts of the subject with a smaller share of the picture are dropped."""
    holes: float = Field(default=0.002, ge=0, lt=1)
    """Gaps in the subject with a smaller share of the picture are filled."""
    invert: bool = False
    """Keep the background and take the subject away."""
    save_masks: Path | None = None
    """Write the masks into this folder too, white for the subject: masked training takes them as
    mask_dir. It must be empty, or the one of an earlier run."""

    @field_validator("color")
    @classmethod
    def _known_color(cls, value: str) -> str:
        if value.lower() == TRANSPARENT:
            return TRANSPARENT
        return "#" + "".join(f"{part:02x}" for part in _COLOR.validate_python(value))

    @property
    def ground(self) -> tuple[int, int, int] | None:
        """Returns the background's red, green and blue, or None for transparent."""
        return None if self.color == TRANSPARENT else _COLOR.validate_python(self.color)

    @model_validator(mode="after")
    def _fits_together(self) -> BackgroundOptions:
        if self.color == TRANSPARENT and self.format == "jpeg":
            raise UserError("JPEG cannot be transparent", remedy="Choose --format png or webp.")
        if self.backend == "onnx" and self.model is None:
            raise UserError("--backend onnx needs a network", remedy="Give it with --model FILE.")
        if self.model is not None and self.backend not in {"auto", "onnx"}:
            raise UserError(
                f"--model has no effect with --backend {self.backend}",
                remedy="Choose --backend onnx or auto.",
            )
        if self.model_kind != "auto" and self.model is None:
            raise UserError("--model-kind has no effect without --model")
        return self
