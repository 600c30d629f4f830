"""Faces by the user's own network of the YOLO kind: imgutils' and adetailer's anime detectors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from renma.core.errors import UserError
from renma.prepare._session import named, session
from renma.prepare.faces import _yolo
from renma.prepare.faces._base import Detect, Face, Source

SCORE = 0.35
_SIDE = 640
"""Of networks that take any size; YOLO's usual one."""
_WORDS = ("face", "head")


def opened(source: Source) -> Detect:
    """Returns the detector.

    Raises:
        UserError: no file given, no network, or none of its classes is a face.
    """
    if source.model is None:
        raise UserError("--detector yolo needs a network", remedy="Give it with --model FILE.")
    network = session(source.model)
    known = _yolo.names(network)
    classes = _faces(known)
    if not classes:
        raise UserError(
            f"knows no faces, only {', '.join(known.values())}",
            where=source.model,
            remedy="Choose a network for faces or heads.",
        )
    side = network.get_inputs()[0].shape[-1]
    side = side if isinstance(side, int) and side > 0 else _SIDE
    least = SCORE if source.score is None else source.score

    name = named("yolo", network)

    def detect(rgb: np.ndarray) -> list[Face]:
        found = _yolo.look(network, rgb, classes, side=side, least=least)
        return [replace(face, detector=name) for face in found]

    return detect


def _faces(known: dict[int, str]) -> list[int]:
    """Returns the classes to take: those named so, faces before heads, else the only one."""
    for word in _WORDS:
        if found := [number for number, name in known.items() if word in name.lower()]:
            return found
    return [0] if len(known) <= 1 else []
