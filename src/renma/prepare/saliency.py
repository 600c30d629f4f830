"""Where the eye goes first, without any model: the spectral residual.

Hou, Zhang, "Saliency Detection: A Spectral Residual Approach", CVPR 2007: what the logarithm of a
picture's spectrum has beside its local mean, turned back, is what stands out.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter

from renma.prepare.borders import Box

_SIDE = 64
"""Side at which it is looked for, as in the paper: larger ones find texture."""
_SMOOTH = 2.5
_TIMES = 3.0
"""What counts is that much above the mean, as in the paper."""
_HELD = 0.96
"""Share of what counts that the box holds, row by row and column by column."""


def saliency(rgb: np.ndarray) -> np.ndarray:
    """Returns how much each part stands out, float32 (64, 64), 0 to 1.

    Args:
        rgb: uint8 (height, width, 3).
    """
    grey = Image.fromarray(rgb).convert("L").resize((_SIDE, _SIDE), Image.Resampling.BOX)
    spectrum = np.fft.fft2(np.asarray(grey, np.float64))
    logarithm = np.log(np.abs(spectrum) + 1e-9)
    around = sum(np.roll(logarithm, (y, x), axis=(0, 1)) for y in (-1, 0, 1) for x in (-1, 0, 1))
    residual = logarithm - around / 9
    found = np.abs(np.fft.ifft2(np.exp(residual + 1j * np.angle(spectrum)))) ** 2
    found = found / max(found.max(), 1e-12) * 255
    smooth = Image.fromarray(found.astype(np.uint8)).filter(ImageFilter.GaussianBlur(_SMOOTH))
    values = np.asarray(smooth, np.float32)
    return values / max(float(values.max()), 1e-9)


def box(rgb: np.ndarray) -> Box | None:
    """Returns the box of what stands out, or None where nothing does.

    Args:
        rgb: uint8 (height, width, 3).
    """
    height, width = rgb.shape[:2]
    if rgb.std() < 1:
        return None
    map_ = saliency(rgb)
    strong = np.where(map_ >= min(_TIMES * map_.mean(), 0.5), map_, 0)
    if not strong.any():
        return None
    left, right = _stretch(strong.sum(axis=0))
    top, bottom = _stretch(strong.sum(axis=1))
    return (
        round(left * width / _SIDE),
        round(top * height / _SIDE),
        max(round(right * width / _SIDE), round(left * width / _SIDE) + 1),
        max(round(bottom * height / _SIDE), round(top * height / _SIDE) + 1),
    )


def _stretch(profile: np.ndarray) -> tuple[int, int]:
    """Returns the stretch that holds all but the outermost few percent of a profile."""
    share = np.cumsum(profile) / profile.sum()
    outside = (1 - _HELD) / 2
    return int(np.searchsorted(share, outside)), int(np.searchsorted(share, 1 - outside)) + 1
