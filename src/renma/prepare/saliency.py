"""What stands out, without any model: unlike the picture's border, and unlike its own regularity.

Two measures: the distance of a colour from those of the border (Mahalanobis; what is cut off by the
border is seldom the subject), weighted up to twice by the spectral residual (Hou, Zhang, "Saliency
Detection: A Spectral Residual Approach", CVPR 2007: what the logarithm of the spectrum has beside
its local mean, turned back).
"""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageFilter

from renma.prepare.borders import Box

_SIDE = 64
"""Side at which it is looked for, as in the paper: larger ones find texture."""
_SMOOTH = 2.0
_HELD = 0.985
"""Share of what counts that the box holds, row by row and column by column."""


def saliency(rgb: np.ndarray) -> np.ndarray:
    """Returns how much each part stands out, float64 (64, 64), 0 to 1.

    Args:
        rgb: uint8 (height, width, 3).
    """
    small = Image.fromarray(rgb).resize((_SIDE, _SIDE), Image.Resampling.BOX)
    values = np.asarray(small.convert("YCbCr"), np.float64)
    return _scaled(_scaled(_unlike_border(values)) * (1 + _scaled(_residual(values[..., 0]))))


def box(rgb: np.ndarray) -> Box | None:
    """Returns the box of what stands out, or None where nothing does.

    Args:
        rgb: uint8 (height, width, 3).
    """
    if rgb.std() < 1:
        return None
    map_ = saliency(rgb)
    strong = np.where(map_ >= _threshold(map_), map_, 0)
    height, width = rgb.shape[:2]
    left, right = _stretch(strong.sum(axis=0), width)
    top, bottom = _stretch(strong.sum(axis=1), height)
    return left, top, right, bottom


def _unlike_border(values: np.ndarray) -> np.ndarray:
    ring = np.concatenate([values[:2], values[-2:]]).reshape(-1, 3)
    sides = np.concatenate([values[:, :2], values[:, -2:]], axis=1).reshape(-1, 3)
    border = np.concatenate([ring, sides])
    spread = np.cov(border.T) + 16 * np.eye(3)  # noise of four levels counts for nothing
    step = values - np.median(border, axis=0)
    return np.sqrt(np.einsum("yxi,ij,yxj->yx", step, np.linalg.inv(spread), step))


def _residual(grey: np.ndarray) -> np.ndarray:
    spectrum = np.fft.fft2(grey)
    logarithm = np.log(np.abs(spectrum) + 1e-9)
    shifts = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)]
    around = sum(np.roll(logarithm, shift, axis=(0, 1)) for shift in shifts) / len(shifts)
    return np.abs(np.fft.ifft2(np.exp(logarithm - around + 1j * np.angle(spectrum)))) ** 2


def _scaled(values: np.ndarray) -> np.ndarray:
    """Returns smoothed values between 0 and 1."""
    picture = Image.fromarray((values / max(values.max(), 1e-12) * 255).astype(np.uint8))
    smooth = np.asarray(picture.filter(ImageFilter.GaussianBlur(_SMOOTH)), np.float64)
    smooth = smooth - smooth.min()
    return smooth / max(smooth.max(), 1e-9)


def _threshold(values: np.ndarray) -> float:
    """Returns the value that best parts low ones from high ones (Otsu, 1979)."""
    counts, edges = np.histogram(values, 64, (0, 1))
    middles = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)
    above = below[-1] - below
    total = np.cumsum(counts * middles)
    low = total / np.maximum(below, 1)
    high = (total[-1] - total) / np.maximum(above, 1)
    return float(edges[1:][np.argmax(below * above * (low - high) ** 2)])


def _stretch(profile: np.ndarray, side: int) -> tuple[int, int]:
    """Returns the pixels that hold all but the outermost few percent of a profile."""
    share = np.cumsum(profile) / profile.sum()
    outside = (1 - _HELD) / 2
    start = int(np.searchsorted(share, outside))
    end = int(np.searchsorted(share, 1 - outside)) + 1
    first, last = start * side // _SIDE, math.ceil(end * side / _SIDE)
    return first, max(first + 1, min(last, side))
