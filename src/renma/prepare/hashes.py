"""Perceptual hashes: 64 bits that stay nearly the same when a picture is resized or saved again.

dHash: whether each of 8x8 cells is brighter than its right neighbour (N. Krawetz, "Kind of Like
That", 2013). pHash: whether each of the 64 lowest frequencies of a 32x32 cosine transform is above
their median (C. Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions",
2010). Two pictures are alike where both hashes differ in few bits.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

SIDE = 32
"""Pixels of the small grey picture that everything here is computed from."""
_LOW = 8
_TURNS = 8
"""Quarter turns, each also mirrored."""


def small_grey(grey: Image.Image) -> np.ndarray:
    """Returns a grey picture (mode L) as uint8 (32, 32), whatever its aspect ratio."""
    return np.asarray(grey.resize((SIDE, SIDE), Image.Resampling.BOX))


def phash(small: np.ndarray) -> np.ndarray:
    """Returns pHashes.

    Args:
        small: grey values, (..., 32, 32).

    Returns:
        uint64, (...).
    """
    cosines = _cosines()
    low = cosines @ small.astype(np.float64) @ cosines.T  # (..., 8, 8)
    flat = low.reshape(*low.shape[:-2], _LOW * _LOW)
    # the mean of the picture is no frequency: the median leaves it out, its bit is always zero
    middle = np.median(flat[..., 1:], axis=-1, keepdims=True)
    bits = flat > middle
    bits[..., 0] = False
    return _packed(bits)


def dhash(small: np.ndarray) -> np.ndarray:
    """Returns dHashes of grey values (..., 32, 32) as uint64 (...)."""
    columns = np.linspace(0, SIDE, _LOW + 2).round().astype(int)
    values = small.astype(np.float64)
    rows = values.reshape(*values.shape[:-2], _LOW, SIDE // _LOW, SIDE).mean(-2)
    sums = np.add.reduceat(rows, columns[:-1], axis=-1) / np.diff(columns)
    bits = sums[..., 1:] > sums[..., :-1] + 1  # equal neighbours are equal, whatever noise says
    return _packed(bits.reshape(*bits.shape[:-2], _LOW * _LOW))


def turned(small: np.ndarray) -> np.ndarray:
    """Returns grey values (..., 32, 32) in all eight positions, (8, ..., 32, 32); the first as is.

    These are the positions of a square, so they also serve pictures whose sides are exchanged.
    """
    both = (small, small[..., ::-1])
    return np.stack([np.rot90(s, k, axes=(-2, -1)) for s in both for k in range(_TURNS // 2)])


def distance(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Returns in how many of 64 bits hashes differ; the arguments broadcast."""
    return np.bitwise_count(one ^ other)


def _cosines() -> np.ndarray:
    """Returns the 8 lowest rows of the orthonormal cosine transform of length 32, (8, 32)."""
    place = (np.arange(SIDE) + 0.5) * np.pi / SIDE
    rows = np.cos(np.outer(np.arange(_LOW), place)) * np.sqrt(2 / SIDE)
    rows[0] /= np.sqrt(2)
    return rows


def _packed(bits: np.ndarray) -> np.ndarray:
    """Returns boolean (..., 64) as uint64 (...)."""
    octets = np.packbits(bits, axis=-1)
    return octets.astype(">u1").view(">u8")[..., 0].astype(np.uint64)
