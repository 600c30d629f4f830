"""Colours of subject and background told apart by GrabCut, from a first guess.

Rother, Kolmogorov, Blake, "GrabCut", SIGGRAPH 2004, in OpenCV. The first guess is a person where
one is seen, else the middle of the picture. The cut is made on a small copy; where it strays far
from the person seen, the person is kept.
"""

from __future__ import annotations

import numpy as np

from renma.prepare.subject._base import Finder, Found, Source
from renma.prepare.subject._sure import sureness
from renma.prepare.subject.person import Person

_SIDE, _ROUNDS = 384, 4
_SURE, _MAYBE, _NEVER = 0.9, 0.5, 0.02
_AGREEMENT = 0.85
_FRAME, _SIDES, _TOP = 0.03, 0.2, 0.08


def opened(source: Source) -> Finder:  # noqa: ARG001 - every way is opened alike
    """Returns the finder."""
    person = Person()
    on = {"device": person.device}

    def find(rgb: np.ndarray, alpha: np.ndarray | None) -> Found:  # noqa: ARG001
        seen = person.mask(rgb)
        if seen is None:
            return Found(from_frame(rgb), "grabcut", sharp=False, how={"start": "frame", **on})
        how: dict[str, object] = {"start": "person", "sure": sureness(seen), **on}
        mask = from_guess(rgb, seen)
        if _overlap(mask >= 0.5, seen >= 0.5) < _AGREEMENT:
            return Found(seen, "person", sharp=False, how={**how, "cut": "strayed"})
        return Found(mask, "grabcut", sharp=False, how=how)

    return find


def from_frame(rgb: np.ndarray) -> np.ndarray:
    """Returns the mask of what differs from the left, right and upper edge of the picture."""
    import cv2

    small = _small(rgb)
    height, width = small.shape[:2]
    labels = np.full((height, width), cv2.GC_PR_BGD, np.uint8)
    beside = int(_SIDES * width)
    labels[int(_TOP * height) :, beside : width - beside] = cv2.GC_PR_FGD
    rows, columns = max(1, int(_FRAME * height)), max(1, int(_FRAME * width))
    labels[:rows] = labels[:, :columns] = labels[:, -columns:] = cv2.GC_BGD
    return _cut(small, labels, rgb.shape[:2])


def from_guess(rgb: np.ndarray, guess: np.ndarray) -> np.ndarray:
    """Returns the mask that the colours make of a guess (float32 (height, width), 0 to 1)."""
    import cv2

    small = _small(rgb)
    prior = cv2.resize(guess, small.shape[1::-1], interpolation=cv2.INTER_AREA)
    labels = np.full(small.shape[:2], cv2.GC_PR_BGD, np.uint8)
    labels[prior > _MAYBE] = cv2.GC_PR_FGD
    labels[prior > _SURE] = cv2.GC_FGD
    labels[prior < _NEVER] = cv2.GC_BGD
    return _cut(small, labels, rgb.shape[:2])


def _small(rgb: np.ndarray) -> np.ndarray:
    import cv2

    height, width = rgb.shape[:2]
    scale = min(1.0, _SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(np.ascontiguousarray(rgb), size, interpolation=cv2.INTER_AREA)


def _cut(small: np.ndarray, labels: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    import cv2

    ground = np.isin(labels, (cv2.GC_BGD, cv2.GC_PR_BGD))
    if ground.all() or not ground.any():  # all one side: there is nothing to tell apart
        return np.full(shape, 0.0 if ground.all() else 1.0, np.float32)
    cv2.setRNGSeed(0)  # it starts its colour clusters at random
    models = np.zeros((1, 65)), np.zeros((1, 65))
    image = np.ascontiguousarray(small[..., ::-1])
    cv2.grabCut(image, labels, (0, 0, 1, 1), *models, _ROUNDS, cv2.GC_INIT_WITH_MASK)
    chosen = np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.float32)
    return np.clip(cv2.resize(chosen, shape[::-1], interpolation=cv2.INTER_LINEAR), 0, 1)


def _overlap(one: np.ndarray, other: np.ndarray) -> float:
    union = (one | other).sum()
    return float((one & other).sum() / union) if union else 0.0
