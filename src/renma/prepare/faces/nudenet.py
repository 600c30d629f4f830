"""Faces, photographed and drawn, by the detector of the package ``nudenet`` (YOLOv8n, 320).

Only its network file is read, none of its code. https://github.com/notAI-tech/NudeNet
The package names MIT as its licence on PyPI, its licence file and the network name AGPL-3.0:
renma does not carry it, whoever installs it decides.
"""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from renma.core.errors import UserError
from renma.prepare._session import named, session
from renma.prepare.faces import _yolo
from renma.prepare.faces._base import Detect, Face, Source, distinct

SCORE = 0.4
"""Photographs and drawings get 0.5 and more, a cat 0.2, a motor 0.3."""
_LOOKS = ((320, 1.0), (320, 2.0), (640, 1.0))
"""Side of the input and size of the square: as trained, for large faces, for small ones."""


def file() -> Path | None:
    """Returns the package's network, or None where the package is not installed."""
    found = find_spec("nudenet")
    path = Path(found.origin).parent / "320n.onnx" if found and found.origin else None
    return path if path and path.is_file() else None


def opened(source: Source) -> Detect:
    """Returns the detector.

    Raises:
        UserError: the package is not installed.
    """
    path = file()
    if path is None:
        raise UserError(
            "the detector nudenet is not installed",
            remedy="pip install nudenet, or choose another --detector.",
        )
    network = session(path)
    classes = [number for number, name in _yolo.names(network).items() if "FACE" in name]
    least = SCORE if source.score is None else source.score

    name = named("nudenet", network)

    def detect(rgb: np.ndarray) -> list[Face]:
        found: list[Face] = []
        for side, grow in _LOOKS:
            found += _yolo.look(
                network, rgb, classes, side=side, least=least, pad=(0, 0, 0), grow=grow
            )
        return [replace(face, detector=name) for face in distinct(found)]

    return detect
