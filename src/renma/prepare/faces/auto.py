"""The detectors that are installed, one after another until one sees a face.

nudenet first (photographs and drawings), then animeface (drawings), then OpenCV's cascades, which
are always there and see photographs only. Or the user's network, where one is given.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from renma.prepare.faces import animeface, haar, nudenet, yolo, yunet
from renma.prepare.faces._base import Detect, Face, Source


def installed() -> tuple[str, ...]:
    """Returns the names of the detectors that this system has, in the order they are asked."""
    there = {"nudenet": nudenet.file(), "animeface": animeface.library(), "haar": True}
    return tuple(name for name, found in there.items() if found)


def sees_drawings() -> bool:
    """Says whether one of them was made for drawn faces too."""
    return installed() != ("haar",)


def opened(source: Source) -> Detect:
    """Returns the detector.

    Raises:
        UserError: a model is given that is no network for faces.
    """
    if source.model is not None:
        return _of_model(source)
    ways: dict[str, Callable[[Source], Detect]] = {
        "nudenet": nudenet.opened,
        "animeface": animeface.opened,
        "haar": haar.opened,
    }
    detectors = [ways[name](source) for name in installed()]

    def detect(rgb: np.ndarray) -> list[Face]:
        for each in detectors:
            if faces := each(rgb):
                return faces
        return []

    return detect


def _of_model(source: Source) -> Detect:
    assert source.model is not None
    if "yunet" in source.model.name.lower():
        return yunet.opened(source)
    return yolo.opened(source)
