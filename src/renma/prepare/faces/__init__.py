"""Finding faces, photographed and drawn: one file a detector, behind one door."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from renma.core.store import file_hash
from renma.prepare.faces import animeface, auto, haar, nudenet, yolo, yunet
from renma.prepare.faces._base import Box, Detect, Face, Source, distinct, overlap

__all__ = ["Box", "Detect", "Face", "distinct", "identity", "opened", "overlap"]

VERSION = 2
"""Raise it when the same detector would find other faces."""
_WAYS: dict[str, Callable[[Source], Detect]] = {
    "auto": auto.opened,
    "nudenet": nudenet.opened,
    "animeface": animeface.opened,
    "haar": haar.opened,
    "yunet": yunet.opened,
    "yolo": yolo.opened,
}


def opened(detector: str, model: Path | None = None, score: float | None = None) -> Detect:
    """Returns what finds the faces of a picture.

    Args:
        detector: ``auto``, ``nudenet``, ``animeface``, ``haar``, ``yunet`` or ``yolo``.
        model: the ONNX file of the last two.
        score: how sure it must be; None for the detector's own default.

    Raises:
        UserError: the detector is not installed, or its file is not what it should be.
    """
    return _WAYS[detector](Source(model, score))


def identity(detector: str, model: Path | None = None) -> tuple[object, ...]:
    """Returns what decides, besides the options, which faces are found.

    Args:
        detector: as for :func:`opened`.
        model: its file.
    """
    if model is not None:
        return VERSION, detector, file_hash(model)
    names = auto.installed() if detector == "auto" else (detector,)
    return VERSION, *((name, _version(name)) for name in names)


def _version(detector: str) -> str:
    if detector in {"nudenet", "animeface"}:
        return version(detector)
    import cv2

    return cv2.__version__
