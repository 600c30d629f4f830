"""What a picture's area looks like: frames, light, colour, emptiness."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from renma.prepare import borders

_NEAR = 14
"""Colours that differ by no more than this in any channel count as one."""


@dataclass(frozen=True)
class Frame:
    """How wide the even bars around a picture are, as shares of its height or width."""

    top: float
    bottom: float
    left: float
    right: float

    @property
    def share(self) -> float:
        """Share of the picture's area that lies in the bars; 0 for no frame."""
        return 1 - (1 - self.top - self.bottom) * (1 - self.left - self.right)


@dataclass(frozen=True)
class Light:
    """How bright a picture is, its even ground left out.

    Args:
        dark: luma (0 to 255) that nine tenths of the pixels do not exceed.
        bright: luma that nine tenths of the pixels do exceed.
        spread: standard deviation of luma over the whole picture.
        colour: difference between the strongest and weakest channel, exceeded by one pixel in
            a hundred.
        clipped: share of the pixels that are white or nearly so, ground left out.
    """

    dark: float
    bright: float
    spread: float
    colour: float
    clipped: float


def frame(pixels: np.ndarray) -> Frame:
    """Returns the bars of a letterboxed or framed picture: what `prepare crop --borders` cuts off.

    Args:
        pixels: uint8 (h, w, 3 or 4).
    """
    left, top, right, bottom = borders.find(pixels)
    height, width = pixels.shape[:2]
    return Frame(top / height, (height - bottom) / height, left / width, (width - right) / width)


def light(rgb: np.ndarray) -> Light:
    """Returns brightness and colour of a picture.

    Args:
        rgb: uint8 (h, w, 3).
    """
    values = rgb.astype(np.float32)
    luma = values @ np.array([0.299, 0.587, 0.114], np.float32)
    colour = float(np.percentile(rgb.max(-1).astype(int) - rgb.min(-1), 99))
    subject = luma[~_ground(rgb)]
    if subject.size < luma.size // 50:
        subject = luma.ravel()
    dark, bright = np.percentile(subject, [90, 10])
    clipped = float((subject >= 252).mean())
    return Light(float(dark), float(bright), float(luma.std()), colour, clipped)


def _even(rgb: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """Returns where a colour is, but for small differences, bool (h, w)."""
    apart = np.abs(rgb.astype(np.int16) - colour)
    return np.asarray(apart.max(-1) <= _NEAR)


def _ground(rgb: np.ndarray) -> np.ndarray:
    """Returns where the one colour is that makes up most of the picture's edge, bool (h, w)."""
    edge = np.concatenate([rgb[0], rgb[-1], rgb[:, 0], rgb[:, -1]])
    colour = np.median(edge, axis=0).round().astype(np.int16)
    if _even(edge, colour).mean() < 0.4:
        return np.zeros(rgb.shape[:2], bool)
    return _even(rgb, colour)
