"""Whether a tag without the trigger still looks as it did in the base model."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

_FLAT = 1e-6


@dataclass(frozen=True)
class Drift:
    """How far the LoRA moves pictures that nobody asked it to change.

    Attributes:
        distance: mean distance between the LoRA's picture and the base model's of the same seed.
        base_noise: mean distance between two pictures of the base model from different seeds.
        ratios: (seeds,) of each seed's distance to ``base_noise``.
    """

    distance: float
    base_noise: float
    ratios: np.ndarray

    @property
    def ratio(self) -> float:
        """1 is as much as another seed changes a picture."""
        return float(self.ratios.mean())

    def more_than(self, other: Drift) -> float:
        """Returns by how many standard errors it is more than another drift of the same seeds."""
        apart = self.ratios - other.ratios
        error = float(apart.std(ddof=1)) / math.sqrt(len(apart))
        return float(apart.mean()) / max(error, _FLAT)


def drift(lora: np.ndarray, base: np.ndarray) -> Drift:
    """Returns the drift of one prompt.

    Args:
        lora: (seeds, d) features of the LoRA's pictures.
        base: of the base model's, the same seeds.
    """
    deviation = base.std(0)
    scale = deviation + 1e-3 * deviation.mean() + _FLAT
    now, was = lora / scale, base / scale
    moved = np.linalg.norm(now - was, axis=1)
    between = np.linalg.norm(was[:, None] - was[None], axis=2)
    usual = float(between[~np.eye(len(was), dtype=bool)].mean())
    return Drift(float(moved.mean()), usual, moved / max(usual, _FLAT))
