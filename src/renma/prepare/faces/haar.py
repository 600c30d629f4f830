"""Photographed faces by the cascades that OpenCV carries (Viola and Jones 2001).

One cascade alone sees faces in notebooks and windows; a face counts where two of them that were
trained apart agree.
"""

from __future__ import annotations

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
        seen = {name: _boxes(cascade, grey) for name, cascade in cascades.items()}
        mirrored = _boxes(cascades[_SIDE_VIEW], np.ascontiguousarray(grey[:, ::-1]))
        width = grey.shape[1]
        seen[_SIDE_VIEW] += [(width - r, t, width - le, b) for le, t, r, b in mirrored]
        return [
            Face(times(face.box, scale), face.score, None, "haar")
            for face in agreed(seen)
            if face.score >= least
        ]

    return detect


def agreed(seen: dict[str, list[Box]]) -> list[Face]:
    """Returns faces with how many cascades saw them as score: a third for each frontal one.

    The two later cascades were trained alike and count, without the first, as one.

    Args:
        seen: boxes of each cascade.
    """
    faces = []
    for name, boxes in seen.items():
        for box in boxes:
            first = any(overlap(box, other) > _AGREE for other in seen.get(_FIRST, ()))
            second = sum(
                any(overlap(box, other) > _AGREE for other in seen.get(each, ()))
                for each in _SECOND
            )
            alone = name == _SIDE_VIEW and not first and not second
            votes = first + second if first else min(1, second)
            faces.append(Face(box, 0.3 if alone else round(votes / 3, 3)))
    return distinct(faces)


def _boxes(cascade: cv2.CascadeClassifier, grey: np.ndarray) -> list[Box]:
    side = max(20, round(min(grey.shape) * _SMALLEST))
    found = cascade.detectMultiScale(grey, scaleFactor=1.1, minNeighbors=5, minSize=(side, side))
    return [(float(x), float(y), float(x + w), float(y + h)) for x, y, w, h in found]


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
