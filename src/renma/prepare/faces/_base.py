"""What every face detector takes and gives."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels."""


@dataclass(frozen=True)
class Source:
    """What a detector may be opened with.

    Args:
        model: an ONNX file.
        score: how sure it must be; None for its own default.
    """

    model: Path | None = None
    score: float | None = None


@dataclass(frozen=True)
class Face:
    """A face.

    Args:
        box: from brows or hairline to chin, as the detector means it.
        score: how sure the detector is, 0 to 1; scales differ from detector to detector.
        landmarks: (x, y) of eyes, nose and mouth corners, where the detector tells them.
        detector: who found it.
    """

    box: Box
    score: float
    landmarks: tuple[tuple[float, float], ...] | None = None
    detector: str = ""

    @property
    def weight(self) -> float:
        """Returns what the best of several faces has most of: sure and large."""
        left, top, right, bottom = self.box
        return self.score * max(0.0, (right - left) * (bottom - top)) ** 0.5


Detect = Callable[[np.ndarray], list[Face]]
"""Takes uint8 RGB (height, width, 3); an empty list means that it looked and saw no face."""


def overlap(one: Box, other: Box) -> float:
    """Returns the area two boxes share over the area they cover together, 0 to 1."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return width * height / (areas - width * height)


def distinct(faces: Iterable[Face], most_overlap: float = 0.4) -> list[Face]:
    """Returns the faces without those that overlap a surer one, best first."""
    kept: list[Face] = []
    for face in sorted(faces, key=lambda f: f.score, reverse=True):
        if all(overlap(face.box, other.box) <= most_overlap for other in kept):
            kept.append(face)
    return sorted(kept, key=lambda f: f.weight, reverse=True)


def shrunk(rgb: np.ndarray, longest: int) -> tuple[np.ndarray, float]:
    """Returns a picture of at most ``longest`` pixels a side, and by what it was divided."""
    import cv2

    scale = max(1.0, max(rgb.shape[:2]) / longest)
    if scale == 1.0:
        return np.ascontiguousarray(rgb), 1.0
    height, width = (max(1, round(side / scale)) for side in rgb.shape[:2])
    small = cv2.resize(np.ascontiguousarray(rgb), (width, height), interpolation=cv2.INTER_AREA)
    return small, scale


def times(box: Iterable[float], scale: float) -> Box:
    """Returns a box with every edge multiplied."""
    left, top, right, bottom = (float(edge) * scale for edge in box)
    return left, top, right, bottom


def within(box: Box, size: tuple[int, int]) -> Box:
    """Returns the part of a box that lies in a picture of this width and height."""
    left, top, right, bottom = box
    return max(0.0, left), max(0.0, top), min(float(size[0]), right), min(float(size[1]), bottom)
