"""Where a picture draws the eye: faces, corners, and the part richest in shades.

Each of the three gives one point, the plain mean of what it found; the focus is their weighted
mean. The idea and the weights are those of the web UI's automatic focal point crop; entropy is
Shannon's, H = -sum p log2 p over the 256 grey levels.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

Point = tuple[float, float]
_MOST, _QUALITY, _APART = 100, 0.04, 0.06
"""Corners: how many, how strong beside the strongest, how far apart (of the shorter side)."""
_WATERMARK = 0.1
"""Of the height, from below: signatures and watermarks are full of corners."""
_EQUAL = 1e-9
_UP = 1 / 3
"""Where in a face its eyes are, from above."""


@dataclass(frozen=True)
class Focus:
    """What draws the eye, in pixels of the picture looked at.

    Args:
        point: x, y.
        sets: the points found, by ``face``, ``corner`` and ``entropy``.
    """

    point: Point
    sets: dict[str, list[Point]] = field(default_factory=dict)


def weighed(
    sets: dict[str, list[Point]], weights: dict[str, float], size: tuple[int, int]
) -> Focus:
    """Returns the weighted mean of the sets' means; the picture's middle where nothing is found.

    Args:
        sets: points by kind; an empty set does not count.
        weights: by kind.
        size: width and height.
    """
    found = {kind: points for kind, points in sets.items() if points and weights[kind]}
    total = sum(weights[kind] for kind in found)
    if not total:
        return Focus((size[0] / 2, size[1] / 2), {})
    x = y = 0.0
    for kind, points in found.items():
        mean = np.mean(np.array(points, np.float64), axis=0)
        x += weights[kind] / total * float(mean[0])
        y += weights[kind] / total * float(mean[1])
    return Focus((x, y), found)


def eyes(box: tuple[float, float, float, float]) -> Point:
    """Returns the point of a face that a cut-out should have in its middle."""
    left, top, right, bottom = box
    return (left + right) / 2, top + (bottom - top) * _UP


def corners(rgb: np.ndarray) -> list[Point]:
    """Returns up to 100 corners (Shi and Tomasi 1994), none in the lowest tenth.

    Args:
        rgb: uint8 (height, width, 3).
    """
    import cv2

    grey = cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2GRAY)
    # a mask, not paint: a painted bar would have corners of its own
    looked_at = np.full_like(grey, 255)
    looked_at[round(grey.shape[0] * (1 - _WATERMARK)) :] = 0
    apart = max(1.0, _APART * min(grey.shape))
    found = cv2.goodFeaturesToTrack(grey, _MOST, _QUALITY, apart, mask=looked_at)
    if found is None:
        return []
    return [(float(x) + 0.5, float(y) + 0.5) for x, y in found.reshape(-1, 2)]


def entropy(grey: np.ndarray) -> float:
    """Returns Shannon's entropy of the grey levels in bits, 0 to 8.

    Args:
        grey: uint8, of any shape.
    """
    return float(_bits(np.bincount(grey.ravel(), minlength=256)[None])[0])


def richest(rgb: np.ndarray, aim: tuple[int, int]) -> list[Point]:
    """Returns the middle of the cut-out with the highest entropy; nothing where only one fits.

    Every place along the free side is looked at; of equal ones those nearest the middle count.

    Args:
        rgb: uint8 (height, width, 3).
        aim: width and height of the cut-out; fills the picture's shorter side.
    """
    import cv2

    grey = cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2GRAY)
    height, width = grey.shape
    down = height - aim[1] > width - aim[0]
    lines = grey if down else grey.T
    window = min(aim[1] if down else aim[0], len(lines))
    if window == len(lines):
        return []
    counts = np.stack([np.bincount(line, minlength=256) for line in lines])  # (lines, 256)
    summed = np.concatenate([np.zeros((1, 256), counts.dtype), counts.cumsum(0)])
    bits = _bits(summed[window:] - summed[:-window])  # (places,)
    best = np.flatnonzero(bits >= bits.max() - _EQUAL)
    off = np.abs(best - (len(bits) - 1) / 2)
    start = float(best[off <= off.min() + _EQUAL].mean())
    middle = start + window / 2
    return [(width / 2, middle)] if down else [(middle, height / 2)]


def _bits(counts: np.ndarray) -> np.ndarray:
    """Returns the entropy of each row of counts (n, levels) in bits."""
    share = counts / counts.sum(axis=1, keepdims=True)
    logs = np.log2(share, out=np.zeros_like(share), where=share > 0)
    return -(share * logs).sum(axis=1)
