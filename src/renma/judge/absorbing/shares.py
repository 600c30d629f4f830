"""How much of a tag's effect pictures show, 0 as the class alone, 1 as the class with the tag.

Both ends are pictures of the base model from the same seeds as those that are measured.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

SHUFFLES = 999
"""Times that it is drawn at random which pictures were drawn with the tag."""
TOLD = 0.7
"""Share of pairs, one picture with and one without, in which the one with the tag must show more
of it; half of them do where it means nothing."""
CHANCE = 0.01
"""Shuffles that may tell the tag as well as its own pictures do."""
_FLAT = 1e-12


@dataclass(frozen=True)
class Share:
    """A part of a tag's effect.

    Attributes:
        value: 1 is the whole effect, as the base model shows it.
        error: standard error over seeds.
    """

    value: float
    error: float

    def above(self, limit: float) -> bool:
        """Says whether it is surely more: by two standard errors."""
        return self.value - 2 * self.error > limit

    def below(self, limit: float) -> bool:
        """Says whether it is surely less."""
        return self.value + 2 * self.error < limit


def joined(with_tag: np.ndarray, without: np.ndarray, *others: np.ndarray) -> list[np.ndarray]:
    """Returns one number for each picture: timesteps count by what they tell beside their noise.

    Args:
        with_tag: (seeds, timesteps) of the base model's pictures with the tag.
        without: of those without.
        others: of further pictures.

    Returns:
        (seeds,) of each set, in order.
    """
    sets = (with_tag, without, *others)
    apart = np.concatenate([with_tag - with_tag.mean(0), without - without.mean(0)])
    weights = 1 / np.maximum(apart.std(0), _FLAT)
    return [rows.astype(np.float64) @ weights for rows in sets]


def told_apart(with_tag: np.ndarray, without: np.ndarray) -> float:
    """Returns in which share of pairs the picture with the tag shows more of it; 0.5 is chance.

    Args:
        with_tag: (pictures,) numbers.
        without: the same; every picture is compared with every other.
    """
    ahead = with_tag[:, None] - without[None]
    return float((ahead > 0).mean() + (ahead == 0).mean() / 2)


def chance(with_tag: np.ndarray, without: np.ndarray, seed: int) -> float:
    """Returns how often pictures are told apart as well when it is drawn which have the tag.

    Args:
        with_tag: (seeds,) numbers.
        without: the same.
        seed: of the shuffles.
    """
    own = told_apart(with_tag, without)
    everything = np.concatenate([with_tag, without])
    random = np.random.default_rng(seed)
    count = 1
    for _ in range(SHUFFLES):
        drawn = random.permutation(everything)
        count += told_apart(drawn[: len(with_tag)], drawn[len(with_tag) :]) >= own
    return count / (1 + SHUFFLES)


def share(end: np.ndarray, start: np.ndarray, unit: np.ndarray) -> Share:
    """Returns how far pictures moved, in units of the tag's effect.

    Args:
        end: (seeds,) numbers.
        start: of the same seeds, where they moved from.
        unit: (seeds,) what the tag moved the base model's pictures by.
    """
    moved = end - start
    value = float(moved.mean() / unit.mean())
    # of a ratio of means: each seed's deviation from it, in units of the lower one
    apart = (moved - value * unit).std(ddof=1) / abs(unit.mean())
    return Share(value, float(apart / math.sqrt(len(moved))))
