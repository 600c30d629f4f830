"""Photographed faces by the cascades that OpenCV carries (Viola and Jones 2001).

One cascade alone sees faces in notebooks and windows; a face counts where two of them that were
trained apart agree. For faces from the side there is one only; there the many windows of a closer
look must agree: around a face they come by dozens, elsewhere by ones and twos.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from renma.core.errors import UserError
from renma.prepare.faces._base import Box, Detect, Face, Source, distinct, overlap, shrunk, times

if TYPE_CHECKING:
    import cv2

SCORE = 0.6
_LONGEST = 800
_FIRST = "frontalface_default"
_SECOND = ("frontalface_alt", "frontalface_alt2")
_SIDE_VIEW = "profileface"
_AGREE = 0.4
_SMALLEST = 0.05
"""Of the picture's shorter side."""
_STEP = 1.1
_NEIGHBOURS = 5
_NEIGHBOURS_OF_SIDE = 2
"""Of the first look, which only says where the closer one looks."""
_FINE_STEP = 1.05
"""From one size to the next in the closer look."""
_WINDOWS = 16
"""Of the closer look, for a face from the side: 2,170 cut-outs of 31 pictures without a face, also
turned, larger and smaller, have 12 at most; of seven faces of 40 pixels and more that are turned to
the side, six have 16 to 58 and one 11."""


def opened(source: Source) -> Detect:
    """Returns the detector.

    Raises:
        UserError: an OpenCV without cascades (5.0 has none).
    """
    cascades = {name: _cascade(name) for name in (_FIRST, *_SECOND, _SIDE_VIEW)}
    least = SCORE if source.score is None else source.score

    def detect(rgb: np.ndarray) -> list[Face]:
        import cv2

        small, scale = shrunk(rgb, _LONGEST)
        grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
        side_view = cascades[_SIDE_VIEW]
        front = {n: _boxes(c, grey) for n, c in cascades.items() if n != _SIDE_VIEW}
        sides = _from_the_side(side_view, grey)
        # the cascade knows one side of the head; the other is looked for in the mirror
        mirrored = _from_the_side(side_view, np.ascontiguousarray(grey[:, ::-1]))
        width = grey.shape[1]
        sides += [((width - r, t, width - le, b), n) for (le, t, r, b), n in mirrored]
        return [
            Face(times(face.box, scale), face.score, None, "haar")
            for face in agreed(front, sides)
            if face.score >= least
        ]

    return detect


def agreed(front: dict[str, list[Box]], sides: Sequence[tuple[Box, int]] = ()) -> list[Face]:
    """Returns faces with how sure they are as score.

    Each frontal cascade that saw a face is a third. The two later ones were trained alike and
    count, without the first, as one. A face from the side has SCORE at most, with fewer windows
    than _WINDOWS less.

    Args:
        front: boxes of each frontal cascade.
        sides: boxes of the one for faces from the side, with how many windows agree on each.
    """
    faces = [Face(box, round(SCORE * min(1.0, windows / _WINDOWS), 3)) for box, windows in sides]
    for box in [*(box for boxes in front.values() for box in boxes), *(box for box, _ in sides)]:
        first = any(overlap(box, other) > _AGREE for other in front.get(_FIRST, ()))
        second = sum(
            any(overlap(box, other) > _AGREE for other in front.get(each, ())) for each in _SECOND
        )
        votes = first + second if first else min(1, second)
        faces.append(Face(box, round(votes / 3, 3)))
    return distinct(face for face in faces if face.score)


def _boxes(
    cascade: cv2.CascadeClassifier, grey: np.ndarray, neighbours: int = _NEIGHBOURS
) -> list[Box]:
    found = cascade.detectMultiScale(
        grey, scaleFactor=_STEP, minNeighbors=neighbours, minSize=_least(grey)
    )
    return [(float(x), float(y), float(x + w), float(y + h)) for x, y, w, h in found]


def _from_the_side(cascade: cv2.CascadeClassifier, grey: np.ndarray) -> list[tuple[Box, int]]:
    """Returns boxes, each with how many windows of a closer look around it agree on it."""
    found = []
    for left, top, right, bottom in _boxes(cascade, grey, _NEIGHBOURS_OF_SIDE):
        side = right - left
        x, y = (max(0, round(edge - side / 2)) for edge in (left, top))
        part = grey[y : round(bottom + side / 2), x : round(right + side / 2)]
        boxes, windows = cascade.detectMultiScale2(
            np.ascontiguousarray(part), scaleFactor=_FINE_STEP, minNeighbors=1, minSize=_least(grey)
        )
        for (x0, y0, w, h), count in zip(boxes, np.ravel(windows), strict=True):
            box = (float(x + x0), float(y + y0), float(x + x0 + w), float(y + y0 + h))
            if overlap(box, (left, top, right, bottom)) > _AGREE:
                found.append((box, int(count)))
    return found


def _least(grey: np.ndarray) -> tuple[int, int]:
    side = max(20, round(min(grey.shape) * _SMALLEST))
    return side, side


def _cascade(name: str) -> cv2.CascadeClassifier:
    import cv2

    folder = getattr(getattr(cv2, "data", None), "haarcascades", "")
    path = Path(folder) / f"haarcascade_{name}.xml"
    if not hasattr(cv2, "CascadeClassifier") or not path.is_file():
        raise UserError(
            f"OpenCV {cv2.__version__} has no cascades for faces",
            remedy='pip install "opencv-python-headless<5", or choose another --detector.',
        )
    return cv2.CascadeClassifier(str(path))
