"""A background of one colour: what is joined to the border and has its colour is not the subject.

The colour is the median of the border. Along the edge a pixel is a mixture, c = a F + (1 - a) B;
with the background B known and the subject's colour F taken from just inside, a follows.
"""

from __future__ import annotations

import numpy as np

from renma.core.errors import UserError
from renma.prepare.subject._base import Finder, Found, Source

SHARE = 0.6
"""Of the border's pixels must have the background's colour; the subject may touch the border."""
_CLOSE, _NOISE = 24, 6
_BAND = 2
"""Pixels beside the background that may be mixtures."""


def opened(source: Source) -> Finder:  # noqa: ARG001 - every way is opened alike
    """Returns the finder."""
    return find


def find(rgb: np.ndarray, alpha: np.ndarray | None) -> Found:  # noqa: ARG001
    """Returns the mask of what stands before a background of one colour.

    Raises:
        UserError: the border has no such colour.
    """
    color, share = border_color(rgb)
    if share < SHARE:
        raise UserError(
            f"has no background of one colour ({share:.0%} of its border is alike)",
            remedy="Choose another --backend.",
        )
    mask = _cut_out(rgb, color)
    how = {"background": "#" + "".join(f"{round(c):02x}" for c in color), "border": round(share, 3)}
    return Found(mask, "flat", sharp=True, how=how)


def border_color(rgb: np.ndarray) -> tuple[np.ndarray, float]:
    """Returns the border's median colour (float32, 3) and the share of the border close to it."""
    ring = _ring(rgb)
    color = np.median(ring, axis=0).astype(np.float32)
    return color, float((np.abs(ring - color).max(axis=1) <= _tolerance(ring, color)).mean())


def _ring(rgb: np.ndarray) -> np.ndarray:
    sides = (rgb[0], rgb[-1], rgb[1:-1, 0], rgb[1:-1, -1])
    return np.concatenate(sides).astype(np.float32)  # (pixels, 3)


def _tolerance(ring: np.ndarray, color: np.ndarray) -> float:
    """Returns how far from the colour the background's own noise goes (JPEG, paper, scans)."""
    distance = np.abs(ring - color).max(axis=1)
    near = distance[distance <= _CLOSE]
    return float(np.clip(np.percentile(near, 90) * 1.5, _NOISE, _CLOSE)) if near.size else _NOISE


def _cut_out(rgb: np.ndarray, color: np.ndarray) -> np.ndarray:
    import cv2

    distance = np.abs(rgb.astype(np.float32) - color).max(axis=2)
    alike = (distance <= _tolerance(_ring(rgb), color)).astype(np.uint8)
    _, parts = cv2.connectedComponents(alike, connectivity=4)
    outer = np.unique(np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]]))
    ground = (np.isin(parts, outer[outer > 0])).astype(np.uint8)
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    band = cv2.dilate(ground, cross, iterations=_BAND).astype(bool)
    sure = (~band).astype(np.float32)
    subject = _spread(rgb.astype(np.float32), sure, _BAND)
    step = subject - color  # (height, width, 3)
    length = (step**2).sum(axis=2)
    along = ((rgb - color) * step).sum(axis=2) / np.maximum(length, 1e-6)
    # a subject of nearly the background's colour (a white collar on white) is no mixture
    mixed = np.where(length > (2.0 * _CLOSE) ** 2, np.clip(along, 0, 1), 1.0)
    mask = np.where(band & (ground == 0), mixed, sure)
    return np.where(ground == 1, 0.0, mask).astype(np.float32)


def _spread(colors: np.ndarray, sure: np.ndarray, reach: int) -> np.ndarray:
    """Returns the mean colour of the sure pixels near each pixel (float32, (h, w, 3))."""
    import cv2

    size = (2 * reach + 3, 2 * reach + 3)
    weight = cv2.blur(sure, size)
    total = cv2.blur(colors * sure[..., None], size)
    return np.where(weight[..., None] > 0, total / np.maximum(weight, 1e-6)[..., None], colors)
