"""How much of a picture changed, and where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
"""(height, width, 3)."""


@dataclass(frozen=True)
class Change:
    """Between two sets of pictures, seed by seed.

    Attributes:
        percent: pixels that changed, mean over the seeds.
        error: standard error of that mean; None of a single seed.
        mean: difference of red, green and blue, 0 to 255, mean over everything.
        means: the same of each seed.
        where: (height, width) largest difference of the three, 0 to 255, mean over the seeds.
    """

    percent: float
    error: float | None
    mean: float
    means: tuple[float, ...]
    where: NDArray[np.float32]


def change(before: Sequence[Pixels], after: Sequence[Pixels], threshold: int) -> Change:
    """Returns what changed between pictures of the same seeds.

    Args:
        before: a picture a seed.
        after: the same seeds, in the same order.
        threshold: a pixel has changed where red, green or blue differ by more.
    """
    shares, means, where = [], [], []
    for one, other in zip(before, after, strict=True):
        apart = np.abs(one.astype(np.int16) - other.astype(np.int16))
        largest = apart.max(2)
        shares.append(100 * float((largest > threshold).mean()))
        means.append(float(apart.mean()))
        where.append(largest.astype(np.float32))
    error = None
    if len(shares) > 1:
        error = float(np.std(shares, ddof=1) / len(shares) ** 0.5)
    mean = float(np.mean(means))
    return Change(float(np.mean(shares)), error, mean, tuple(means), np.mean(where, 0))


def from_others(pictures: Sequence[Pixels], family: Sequence[Pixels]) -> list[float]:
    """Returns how far each picture is from a family's pictures of the other seeds.

    Args:
        pictures: one a seed.
        family: the same seeds, in the same order; at least two.

    Returns:
        Mean difference of red, green and blue, 0 to 255, for every picture.
    """
    return [
        float(np.mean([_apart(one, other) for t, other in enumerate(family) if t != s]))
        for s, one in enumerate(pictures)
    ]


def _apart(one: Pixels, other: Pixels) -> float:
    return float(np.abs(one.astype(np.int16) - other.astype(np.int16)).mean())
