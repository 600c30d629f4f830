"""Turning a picture without empty corners: the largest upright rectangle inside the turned one."""

from __future__ import annotations

import math

from PIL import Image

_ROUNDING = 1e-6
"""So that a right angle costs no pixel; pixels are sampled in their middles, far inside."""


def inscribed(size: tuple[float, float], degrees: float) -> tuple[float, float]:
    """Returns width and height of the largest upright rectangle inside a turned one.

    Where the turned rectangle is long, two corners of the result lie on one of its long sides, the
    others anywhere between: w = s / (2 sin), h = s / (2 cos) with its short side s (or the other
    way round). Else all four corners touch: w cos + h sin = W and w sin + h cos = H.

    Args:
        size: width and height of the rectangle before it is turned.
        degrees: any angle.
    """
    width, height = size
    sine, cosine = abs(math.sin(math.radians(degrees))), abs(math.cos(math.radians(degrees)))
    long, short = max(size), min(size)
    if short <= 2 * sine * cosine * long or abs(sine - cosine) < 1e-10:
        half = short / 2
        across, up = (
            (half / sine, half / cosine) if width >= height else (half / cosine, half / sine)
        )
        return across, up
    double = cosine * cosine - sine * sine
    return (width * cosine - height * sine) / double, (height * cosine - width * sine) / double


def turned(picture: Image.Image, degrees: float) -> Image.Image:
    """Returns a picture turned counter-clockwise about its middle, cut to where it is whole.

    Pixels are interpolated bicubically, colours weighted by opacity.

    Args:
        picture: mode RGB or RGBA.
        degrees: of the turn.
    """
    found = inscribed(picture.size, degrees)
    width, height = (max(1, math.floor(side + _ROUNDING)) for side in found)
    angle = math.radians(degrees)
    cosine, sine = math.cos(angle), math.sin(angle)
    x, y = picture.width / 2, picture.height / 2
    # where pixel (u, v) of the result lies in the picture
    data = (
        cosine,
        -sine,
        x - cosine * width / 2 + sine * height / 2,
        sine,
        cosine,
        y - sine * width / 2 - cosine * height / 2,
    )
    return picture.transform(
        (width, height), Image.Transform.AFFINE, data, Image.Resampling.BICUBIC
    )
