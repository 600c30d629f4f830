"""Near duplicates: the same picture resized, saved again, trimmed, recoloured, turned.

Two hashes (see :mod:`renma.prepare.hashes`) choose candidates among all pairs, 64 bits at a time;
small grey copies of the candidates decide. All pairs of 10,000 pictures are 50 million, which is
under a second of counting bits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from renma.prepare.hashes import SIDE, dhash, distance, phash, turned

PHASH_BITS, DHASH_BITS = 16, 12
"""Candidates differ by at most so many of 64 bits. Trimming 5 % off every side moves 12 and 11."""
CORRELATION = 0.95
"""Of the small grey copies, from which on two pictures are one."""
LOCAL = 70.0
"""Grey values; a larger difference in one place makes two pictures of it."""
_ASPECT = 0.12
_TRIMS = (0.01, 0.02, 0.03, 0.04, 0.05)
_BLOCK = 256
_CELL = 4


@dataclass(frozen=True)
class Cluster:
    """One picture and its near copies.

    Args:
        keep: index of the best of them.
        others: indices of those that are nearly the same as that one.
    """

    keep: int
    others: tuple[int, ...]


def near_pairs(
    small: np.ndarray, aspects: np.ndarray, *, turns: bool = False
) -> list[tuple[int, int]]:
    """Returns the pairs (i, j), i < j, of pictures that are nearly the same.

    Args:
        small: grey copies, uint8 (n, 32, 32).
        aspects: width over height, (n,).
        turns: find turned and mirrored copies too.
    """
    poses = turned(small) if turns else small[None]  # (positions, n, 32, 32)
    found: set[tuple[int, int]] = set()
    for pose, here in enumerate(poses):
        lying = pose % 2 == 1
        ratios = 1 / aspects if lying else aspects
        for one, other in _candidates(here, small, np.log(ratios), np.log(aspects)):
            same = _same_picture(here[one], small[other])
            found |= set(zip(one[same].tolist(), other[same].tolist(), strict=True))
    return sorted(found)


def clusters(pairs: Sequence[tuple[int, int]], best_first: Sequence[int]) -> list[Cluster]:
    """Groups pairs so that every member is like the one that is kept, not like a chain of others.

    Args:
        pairs: from :func:`near_pairs`.
        best_first: all indices, the one to be kept first.
    """
    beside: dict[int, set[int]] = {}
    for one, other in pairs:
        beside.setdefault(one, set()).add(other)
        beside.setdefault(other, set()).add(one)
    taken: set[int] = set()
    found = []
    for index in best_first:
        if index in taken or index not in beside:
            continue
        others = beside[index] - taken
        if others:
            taken |= others | {index}
            found.append(Cluster(index, tuple(sorted(others))))
    return found


def _candidates(
    here: np.ndarray, there: np.ndarray, ratio_here: np.ndarray, ratio_there: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields indices (i, j), i < j, of pairs whose hashes and aspect ratios are near."""
    p_here, d_here, p_there, d_there = phash(here), dhash(here), phash(there), dhash(there)
    count = len(here)
    for start in range(0, count, _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, count))
        near = distance(p_here[rows, None], p_there[None, start:]) <= PHASH_BITS
        one, other = near.nonzero()
        one, other = rows[one], other + start
        keep = (one < other) & (distance(d_here[one], d_there[other]) <= DHASH_BITS)
        keep &= np.abs(ratio_here[one] - ratio_there[other]) <= _ASPECT
        yield one[keep], other[keep]


def _same_picture(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Says for each pair of grey copies, (k, 32, 32) each, whether they show one picture."""
    found = np.zeros(len(one), bool)
    for start in range(0, len(one), _BLOCK):
        part = slice(start, start + _BLOCK)
        found[part] = _alike(one[part], other[part])
    return found


def _alike(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    a, b = one.astype(np.float32), other.astype(np.float32)
    best, local = _compared(a, b)
    for trim in _TRIMS:
        rows = _trimming(trim)
        for left, right in ((rows @ a @ rows.T, b), (a, rows @ b @ rows.T)):
            correlation, difference = _compared(left, right)
            better = correlation > best
            best, local = np.where(better, correlation, best), np.where(better, difference, local)
    return (best >= CORRELATION) & (local <= LOCAL)


def _compared(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns correlation and largest local difference after brightness and contrast are matched.

    Args:
        a: grey values, float32 (k, 32, 32).
        b: the same.
    """
    a = a - a.mean((1, 2), keepdims=True)
    b = b - b.mean((1, 2), keepdims=True)
    product, power = (a * b).mean((1, 2)), (b * b).mean((1, 2))
    correlation = product / np.sqrt((a * a).mean((1, 2)) * power + 1)
    gain = product / (power + 1)
    rest = np.abs(a - gain[:, None, None] * b)
    cells = rest.reshape(len(a), SIDE // _CELL, _CELL, SIDE // _CELL, _CELL).mean((2, 4))
    return correlation, cells.max((1, 2))


def _trimming(share: float) -> np.ndarray:
    """Returns the (32, 32) matrix that cuts a share off both ends and stretches the rest."""
    places = share * SIDE + (np.arange(SIDE) + 0.5) * (1 - 2 * share) - 0.5
    low = np.floor(places).astype(int)
    matrix = np.zeros((SIDE, SIDE), np.float32)
    for row, (place, first) in enumerate(zip(places, low, strict=True)):
        for column, weight in ((first, 1 - (place - first)), (first + 1, place - first)):
            matrix[row, min(max(column, 0), SIDE - 1)] += weight
    return matrix
