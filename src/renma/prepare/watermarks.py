"""Marks in the corners: what looks the same there in pictures that otherwise differ.

One picture cannot tell a watermark from a pattern; many can. Where a mark is, the gradients of
different pictures agree (T. Dekel et al., "On the Effectiveness of Visible Watermarks", 2017).

Drawings of one hand agree as well, in the outline of a head or a shoulder. An outline leads on into
the picture, or is a thin line around much that is empty; a mark stands apart and fills its place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from renma.core.keyed import rng

AGREEMENT = 0.3
"""Correlation of the gradients of two corners from which on they show the same mark."""
MATCHES = 2
"""Other pictures that must show it; one more for every 128 it is compared with, because chance
finds something, too."""
ROWS, COLUMNS = 6, 14
"""Over how many of 31 rows and 63 columns, at least, what two corners share is spread."""
ALONE = 0.2
"""How much of that correlation must come from what stands apart and fills its place."""
FILL = 0.35
"""Share of the rectangle around it that a mark fills, at least; outlines fill less."""
_HIGH = 4
"""Rows and columns of the smallest piece of a mark: 16 pixels of the picture."""
_ACTIVE, _STRONGEST = 0.25, 40
"""Shared is what has this share of the mean of so many strongest places."""
_SHADING = 7
_SHAPE = (31, 63)
_LOOKED_AT = 24
_PROBES = 512
_WHOLE = 0.8
"""Correlation of whole pictures above which a like corner says nothing."""
_STEEP = 24.0
_LINES = 0.03
"""Share of a corner that must be lines, for there to be anything to compare."""
_BLOCK = 512
NAMES = ("top left", "top right", "bottom left", "bottom right")


@dataclass(frozen=True)
class Mark:
    """A mark found in one picture.

    Args:
        index: the picture.
        corner: which corner, as in NAMES.
        others: in how many other pictures the same mark was seen; of many, 24 are looked at.
        agreement: the best correlation with one of them.
    """

    index: int
    corner: str
    others: int
    agreement: float


def find_marks(corners: np.ndarray, small: np.ndarray) -> list[Mark]:
    """Returns the marks that several pictures share.

    Each picture is compared with up to 512 others, drawn once for all.

    Args:
        corners: grey, uint8 (n, 4, h, w).
        small: the whole pictures in grey, uint8 (n, 32, 32).
    """
    count = len(corners)
    order = list(range(count))
    rng(0, "watermark probes", count).shuffle(order)
    probes = np.sort(np.array(order[:_PROBES], int))
    least = max(MATCHES, len(probes) // 128)
    whole = _unit(small.reshape(count, -1).astype(np.float32))
    found = []
    for corner, name in enumerate(NAMES):
        compared = _gradients(corners[probes, corner])
        for start in range(0, count, _BLOCK):
            rows = np.arange(start, min(start + _BLOCK, count))
            vectors = _gradients(corners[rows, corner])
            agreement = vectors @ compared.T
            agreement[whole[rows] @ whole[probes].T > _WHOLE] = 0
            for row in ((agreement >= AGREEMENT).sum(1) >= least).nonzero()[0]:
                near = np.argsort(-agreement[row], kind="stable")[:_LOOKED_AT]
                near = near[agreement[row, near] >= AGREEMENT]
                hits = _sightings(vectors[row] * compared[near], corner)
                if hits >= least:
                    best = float(agreement[row].max())
                    found.append(Mark(int(rows[row]), name, hits, best))
    return sorted(found, key=lambda mark: (mark.index, mark.corner))


def _gradients(patches: np.ndarray) -> np.ndarray:
    """Returns the gradients of patches, (n, h, w), as vectors of length 1; 0 where nothing is."""
    from scipy.ndimage import uniform_filter

    grey = patches.astype(np.float32)
    # shading rises the same way in many corners; writing is what is left without it
    grey -= uniform_filter(grey, _SHADING, axes=(1, 2))
    across = np.diff(grey, axis=2)[:, 1:]
    down = np.diff(grey, axis=1)[:, :, 1:]
    lines = (np.hypot(across, down) > _STEEP / 3).mean((1, 2)) >= _LINES
    both = np.stack([across, down], 1).reshape(len(patches), -1)
    # a strong edge of the picture itself must not drown a faint mark
    vectors = np.tanh(both / _STEEP)
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.where(lines[:, None], vectors / (length + 1e-6), 0).astype(np.float32)


def _sightings(shared: np.ndarray, corner: int) -> int:
    """Returns in how many of these pictures a mark is seen.

    Args:
        shared: products of the gradients of one picture and of others like it, (k, 2 * h * w).
        corner: which one, as in NAMES.
    """
    writing = shared[_is_writing(shared)]
    if not len(writing):
        return 0
    places = writing.reshape(len(writing), 2, *_SHAPE).sum(1)
    usual = places.mean(0)
    active = usual > _ACTIVE * np.sort(usual, axis=None)[-_STRONGEST:].mean()
    return int(((places * _apart(active, corner)).sum((1, 2)) >= ALONE).sum())


def _apart(active: np.ndarray, corner: int) -> np.ndarray:
    """Returns the pieces that do not lead into the picture and fill their place, bool (h, w).

    Args:
        active: where corners agree, bool (h, w).
        corner: which one, as in NAMES.
    """
    from scipy.ndimage import binary_dilation, find_objects

    pieces = _pieces(active)
    row = pieces[-1] if corner < 2 else pieces[0]  # the sides that lie inside the picture
    column = pieces[:, -1] if corner % 2 == 0 else pieces[:, 0]
    left = active & ~np.isin(pieces, np.union1d(row, column))
    kept = np.zeros_like(active)
    for near in (left, binary_dilation(left)):  # letter by letter, and words as one
        pieces = _pieces(near)
        for number, box in enumerate(find_objects(pieces), 1):
            own = left[box] & (pieces[box] == number)
            rows, columns = own.any(1).nonzero()[0], own.any(0).nonzero()[0]
            high, wide = int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1
            if min(high, wide) >= _HIGH and own.sum() >= FILL * high * wide:
                kept[box] |= own
    return kept


def _pieces(active: np.ndarray) -> np.ndarray:
    """Returns the number of the connected piece that each place belongs to, from 1; 0 for none."""
    from scipy.ndimage import label

    numbered: Any = label(active, np.ones((3, 3), bool))
    return numbered[0]


def _is_writing(shared: np.ndarray) -> np.ndarray:
    """Says whether what corners share is spread over many rows and columns, as writing is.

    A single edge at the same place is a matter of chance.

    Args:
        shared: products of gradients, (k, 2 * h * w).
    """
    height, width = _SHAPE
    both = np.maximum(shared, 0).reshape(len(shared), 2, height, width).sum(1)
    enough = np.ones(len(shared), bool)
    for axis, least in ((2, ROWS), (1, COLUMNS)):
        profile = both.sum(axis)
        spread = profile.sum(1) ** 2 / ((profile**2).sum(1) + 1e-12)
        enough &= spread >= least
    return enough


def _unit(vectors: np.ndarray) -> np.ndarray:
    centred = vectors - vectors.mean(1, keepdims=True)
    return centred / (np.linalg.norm(centred, axis=1, keepdims=True) + 1e-6)
