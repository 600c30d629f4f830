"""Whether two nearly equal pictures differ in one place only: another expression, a mark, a prop.

Saving and resizing change a picture a little everywhere; a variant changes much in a few cells and
nothing elsewhere. Of copies the largest difference is up to 4 times the usual one (of a tenth of
the cells), of sprites that differ in their expression 10 times and more.
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


def grey_of(thumb: bytes) -> np.ndarray:
    """Returns a report's small picture in grey, float32 (h, w)."""
    with Image.open(io.BytesIO(thumb), formats=("WEBP",)) as picture:
        return np.asarray(picture.convert("L"), np.float32)


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
