"""How faces are found: the options that face and focal share."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from renma.config.prepare._base import StepOptions
from renma.core.errors import UserError

Detector = Literal["auto", "nudenet", "animeface", "haar", "yunet", "yolo"]
_OWN_FILE = {"yunet", "yolo"}


class FindsFaces(StepOptions):
    """Options of a step that looks for faces."""

    detector: Detector = "auto"
    """What finds faces. nudenet: photographs and drawings; animeface: drawings; haar: photographs,
    always there; yunet and yolo: the network of --model (imgutils' and adetailer's detectors are
    yolo). auto: --model where given, else nudenet, animeface and haar in this order, as far as they
    are installed, until one sees a face."""
    model: Path | None = None
    """A network for faces as ONNX file: YuNet, or any YOLO with a class for faces or heads."""
    score: float | None = Field(default=None, gt=0, le=1)
    """How sure the detector must be; higher finds fewer (default: 0.4 nudenet, 0.85 animeface,
    0.7 yunet, 0.6 haar, 0.35 yolo)."""

    @model_validator(mode="after")
    def _model_fits(self) -> FindsFaces:
        if self.detector in _OWN_FILE and self.model is None:
            raise UserError(
                f"--detector {self.detector} needs a network", remedy="Give it with --model FILE."
            )
        if self.model is not None and self.detector not in {"auto", *_OWN_FILE}:
            raise UserError(
                f"--model has no effect with --detector {self.detector}",
                remedy="Choose --detector auto, yunet or yolo.",
            )
        return self
