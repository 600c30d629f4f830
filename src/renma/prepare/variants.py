"""Whether two nearly equal pictures differ in one place only: another expression, a mark, a prop.

Saving and resizing change a picture a little everywhere; a variant changes much in a few cells and
nothing elsewhere. Of copies the largest difference is up to 4 times the usual one (of a tenth of
the cells), of sprites that differ in their expression 10 times and more.

And whether they differ in colour only: people drawn alike with other hair on another ground are
one picture in grey.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

RATIO = 6.0
"""Largest difference of a cell over that which a tenth of the cells exceeds."""
LARGEST = 18.0
"""Grey values that the largest difference must have."""
_CELL = 4
OTHER_COLOURS = 36.0
"""How far colours may lie apart, 0 to 255, in all but a tenth of the area. Copies of photographs,
trimmed by 5 %, brightened or made warmer by a tenth, stay under 30."""
_COLOURLESS = 12.0
_GRID, _WORKED_AT = 12, 64
_TRIMS = ((0.0, 0.0), (0.025, 0.0), (0.05, 0.0), (0.0, 0.025), (0.0, 0.05))
_SATURATION = (0.6, 1.6)


def opened(thumb: bytes) -> Image.Image:
    """Returns a report's small picture, RGB."""
    with Image.open(io.BytesIO(thumb), formats=("WEBP",)) as picture:
        return picture.convert("RGB")


def differs_in_colour(one: Image.Image, other: Image.Image, *, turns: bool = False) -> bool:
    """Says whether two small pictures that are one in grey have other colours.

    More or less colour all over is no difference, nor is none at all.

    Args:
        one: RGB.
        other: RGB.
        turns: the other may be turned or mirrored.
    """
    base = [_colours(one, first) for first, _ in _TRIMS]
    held = [_colours(other, second) for _, second in _TRIMS]
    if min(np.percentile(np.hypot(*each[0]), 98) for each in (base, held)) < _COLOURLESS:
        return False
    pairs = list(zip(base, held, strict=True))
    if turns:
        pairs = [
            (a, np.rot90(b, quarter, (1, 2))[..., ::step])
            for a, b in pairs
            for quarter in range(4)
            for step in (1, -1)
        ]
    return min(_apart(a, b) for a, b in pairs) > OTHER_COLOURS


def _colours(picture: Image.Image, trim: float) -> np.ndarray:
    """Returns red and blue less luma in a grid, float32 (2, 12, 12), a share cut off each side."""
    x, y = picture.width * trim, picture.height * trim
    box = (x, y, picture.width - x, picture.height - y)
    square = picture.resize((_WORKED_AT, _WORKED_AT), Image.Resampling.BILINEAR, box=box)
    rgb = np.asarray(square.resize((_GRID, _GRID), Image.Resampling.BOX), np.float32)
    luma = rgb @ np.array([0.299, 0.587, 0.114], np.float32)
    return np.stack([rgb[..., 0] - luma, rgb[..., 2] - luma])


def _apart(one: np.ndarray, other: np.ndarray) -> float:
    gain = np.clip((one * other).sum() / ((other * other).sum() + 1), *_SATURATION)
    return float(np.percentile(np.hypot(*(one - gain * other)), 90))


def differs_in_place(one: np.ndarray, other: np.ndarray) -> bool:
    """Says whether two small grey pictures of one motif differ in one place only.

    Args:
        one: float32 (h, w).
        other: float32, of any size; it is brought to the size of the first.
    """
    if one.shape != other.shape:
        size = (one.shape[1], one.shape[0])
        resized = Image.fromarray(other).resize(size, Image.Resampling.BICUBIC)
        other = np.asarray(resized, np.float32)
    a, b = one - one.mean(), other - other.mean()
    gain = (a * b).mean() / ((b * b).mean() + 1)
    rest = np.abs(a - gain * b)
    rows, columns = rest.shape[0] // _CELL, rest.shape[1] // _CELL
    if not rows or not columns:
        return False
    whole = rest[: rows * _CELL, : columns * _CELL]
    cells = whole.reshape(rows, _CELL, columns, _CELL).mean((1, 3))
    largest = float(cells.max())
    return largest > LARGEST and largest > RATIO * (float(np.percentile(cells, 90)) + 1)
