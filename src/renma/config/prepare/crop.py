"""Options of ``renma prepare crop``."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from renma.config._base import word
from renma.config.prepare._base import StepOptions
from renma.config.prepare._buckets import BucketOptions, refuse_idle
from renma.config.prepare._parsed import Size
from renma.core.errors import UserError

_RATIO = re.compile(r"(\d{1,5})\s*[:/x]\s*(\d{1,5})")
Part = Literal["keep", "head", "bust", "waist", "thigh"]


class CropOptions(BucketOptions, StepOptions):
    """Options of ``renma prepare crop``."""

    borders: bool = False
    """Cut frames off: bars and margins of one colour. Only where two opposite bars have the same
    colour and end at a straight line, so that the plain ground of a drawing stays."""
    one_sided: bool = False
    """With --borders: a bar counts without one opposite, too (a clear sky may go with it)."""
    tolerance: int = Field(default=16, ge=0, le=128)
    """With --borders: by how much the values of one colour may differ, of 255; noise is allowed for
    besides."""
    subject: bool = False
    """Cut to the subject: what --backend finds."""
    saliency: bool = False
    """Cut to what draws the eye, without knowing what it is: for pictures of anything."""
    body: tuple[Part, ...] = ()
    """Cut a figure above a line: head, bust, waist or thigh, never through a face; keep is all of
    it. Repeatable, each makes a picture of its own."""
    cut_arms: bool = False
    """Leave out arms that stretch away from the figure: less background at its sides."""
    boxes: Path | None = None
    """A list of what to cut out: name, left, top, width, height, as CSV, JSON or TOML; pixels,
    shares up to 1, or with %. Several boxes of a picture make several pictures."""
    backend: Literal["auto", "alpha", "flat", "person", "grabcut", "onnx"] = "auto"
    """How the subject is found, as in prepare background."""
    model: Path | None = None
    """A network as ONNX file for --backend onnx or auto, as in prepare background."""
    margin: float = Field(default=0.05, ge=0, le=2)
    """Space left around what is found, as a share of its longer side; listed boxes get it only
    where it is given."""
    aspect: str = "free"
    """Shape of the cut-outs: free as found, keep as the picture is, 1:1 or 2:3 and the like, or
    bucket: that of the aspect bucket which a training at --resolution chooses. The cut-out grows
    into the picture where there is room, and is cut where there is none."""
    resolution: Size = word("512x512")
    """With --aspect bucket: the resolution of the training."""
    min_size: int = Field(default=64, ge=1)
    """Cut-outs are grown to this many pixels each way; pictures that are too small are skipped."""
    keep_original: bool = False
    """Put the whole picture beside its cut-outs, whose names then say what they are."""
    missing: Literal["skip", "copy"] = "skip"
    """What becomes of pictures in which nothing is found, or that are not in the list of boxes:
    left out and named, or copied whole."""

    @field_validator("aspect")
    @classmethod
    def _known_shape(cls, value: str) -> str:
        found = _RATIO.fullmatch(value)
        if value in {"free", "keep", "bucket"}:
            return value
        if found is None or not int(found[1]) or not int(found[2]):
            raise ValueError("is no shape; write free, keep, bucket, or width:height such as 2:3")
        return f"{int(found[1])}:{int(found[2])}"

    @property
    def ratio(self) -> Fraction | None:
        """Returns width to height, where --aspect says numbers."""
        found = _RATIO.fullmatch(self.aspect)
        return Fraction(int(found[1]), int(found[2])) if found else None

    @property
    def by_mask(self) -> bool:
        """Says whether a subject is looked for."""
        return self.subject or bool(self.body) or self.cut_arms

    @model_validator(mode="after")
    def _one_way(self) -> CropOptions:
        ways = {
            "--subject, --body or --cut-arms": self.by_mask,
            "--saliency": self.saliency,
            "--boxes": self.boxes is not None,
        }
        given = [name for name, chosen in ways.items() if chosen]
        if len(given) > 1:
            raise UserError(f"{' and '.join(given)} say two things", remedy="Choose one.")
        if self.boxes is not None and self.borders:
            raise UserError("--borders has no effect with --boxes: a box says all")
        if not given and not self.borders and self.aspect in {"free", "keep"}:
            raise UserError(
                "nothing says what to cut",
                remedy="Give --borders, --subject, --body, --cut-arms, --saliency, --boxes or "
                "--aspect 1:1.",
            )
        return self

    @model_validator(mode="after")
    def _nothing_idle(self) -> CropOptions:
        if not self.borders:
            refuse_idle(self, ["one_sided", "tolerance"], "--borders")
        if not self.by_mask:
            refuse_idle(self, ["backend", "model"], "--subject, --body or --cut-arms")
        elif self.backend == "onnx" and self.model is None:
            raise UserError("--backend onnx needs a network", remedy="Give it with --model FILE.")
        elif self.model is not None and self.backend not in {"auto", "onnx"}:
            raise UserError(f"--model has no effect with --backend {self.backend}")
        if not (self.by_mask or self.saliency or self.boxes):
            refuse_idle(self, ["margin", "missing"], "--subject, --body, --saliency or --boxes")
        if self.aspect != "bucket":
            refuse_idle(self, ["resolution", *BucketOptions.model_fields], "--aspect bucket")
        return self
