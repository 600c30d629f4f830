"""Filling holes in pictures: one file per method, the file's name is the method's.

Around every hole a window is cut, filled and pasted back inside the hole only, so that everything
else stays as it was bit by bit and large pictures cost no more than their holes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from renma.core import registry
from renma.prepare.inpaint._base import Filler

__all__ = ["Filler", "device", "fill", "grown", "names", "opened"]
_LEAST_MARGIN = 64
"""Pixels around a hole that a method sees at least."""


def names() -> tuple[str, ...]:
    """Returns the methods there are, each a file of this folder."""
    return registry.names(__name__)


def opened(method: str, model: Path | None = None) -> Filler:
    """Returns the function that fills holes; a network is loaded here, once for many pictures.

    Args:
        method: one of :func:`names`.
        model: the network's file, for ``lama``.

    Raises:
        UserError: no such method, or a file that cannot be used.
    """
    filler: Filler = registry.load(__name__, method).opened(model)
    return filler


def device(filler: Filler) -> str | None:
    """Returns where a filler's network runs; None for one without a network."""
    return getattr(filler, "device", None)


def fill(rgb: np.ndarray, hole: np.ndarray, filler: Filler, feather: int = 0) -> np.ndarray:
    """Returns the picture with its holes filled, uint8; outside of them no bit differs.

    Args:
        rgb: uint8 (height, width, 3).
        hole: bool (height, width).
        filler: of :func:`opened`.
        feather: over so many pixels, inside the hole, the old picture fades into the new.
    """
    out = rgb.copy()
    for part in _windows(hole):
        filled = filler(np.ascontiguousarray(rgb[part]), np.ascontiguousarray(hole[part]))
        share = _weights(hole[part], feather)[..., None]
        mixed = (share * filled + (1 - share) * rgb[part]).round().astype(np.uint8)
        out[part] = np.where(hole[part][..., None], mixed, out[part])
    return out


def grown(hole: np.ndarray, pixels: int) -> np.ndarray:
    """Returns a hole made larger on all sides by ``pixels``; bool (height, width)."""
    import cv2

    if pixels < 1:
        return hole
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * pixels + 1,) * 2)
    return cv2.dilate(hole.astype(np.uint8), disc).astype(bool)


def _weights(hole: np.ndarray, feather: int) -> np.ndarray:
    import cv2

    if feather < 1:
        return hole.astype(np.float32)
    # the frame of the window is no rim of the hole: beyond it the hole may go on
    framed = np.pad(hole, 1, mode="edge").astype(np.uint8)
    depth = cv2.distanceTransform(framed, cv2.DIST_L2, 5)[1:-1, 1:-1]
    return np.clip(depth / (feather + 1), 0, 1).astype(np.float32)


def _windows(hole: np.ndarray) -> Iterator[tuple[slice, slice]]:
    """Yields windows that hold every hole with room around; holes near each other share one."""
    import cv2

    height, width = hole.shape
    boxes = cv2.connectedComponentsWithStats(hole.astype(np.uint8))[2][1:, :4]
    wide = [
        (x - m, y - m, x + w + m, y + h + m)
        for x, y, w, h in boxes.tolist()
        for m in (max(_LEAST_MARGIN, w, h),)
    ]
    for left, top, right, bottom in _joined(wide):
        yield slice(max(0, top), min(height, bottom)), slice(max(0, left), min(width, right))


def _joined(boxes: list[tuple[int, int, int, int]]) -> list[tuple[int, int, int, int]]:
    """Returns boxes none of which meets another: those that met are one."""
    done: list[tuple[int, int, int, int]] = []
    for box in boxes:
        now, apart = box, []
        waiting = done
        while True:
            met = [b for b in waiting if _meet(b, now)]
            apart = [b for b in waiting if not _meet(b, now)]
            if not met:
                break
            xs = [now, *met]
            now = (
                min(b[0] for b in xs),
                min(b[1] for b in xs),
                max(b[2] for b in xs),
                max(b[3] for b in xs),
            )
            waiting = apart
        done = [*apart, now]
    return done


def _meet(one: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
