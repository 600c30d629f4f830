"""Candidates beside one another: ranks of their scores, and how sure the best one is.

Scores of different measures cannot be added; their ranks can, as LyCORIS compares its runs
(arXiv 2309.14859). How sure a rank is follows from drawing the pictures anew, the same for every
candidate, because each candidate drew the same prompts from the same noise.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from renma.core import keyed

Better = Literal["high", "low"]
DRAWS = 1000
"""How often pictures are drawn anew."""


def ranked(scores: np.ndarray, better: Better = "high") -> np.ndarray:
    """Returns ranks from 0 (worst) to 1 (best), equal scores their mean rank.

    One candidate, or all alike, get 0.5. What was not measured (NaN) has no rank and stays NaN.

    Args:
        scores: (candidates,).
        better: whether a high or a low score is good.
    """
    scores = np.asarray(scores, np.float64)
    known = ~np.isnan(scores)
    own = scores[known] if better == "high" else -scores[known]
    found = np.full(scores.shape, np.nan)
    if len(own) == 1:
        found[known] = 0.5
    elif len(own):
        below = (own[None, :] < own[:, None]).sum(1)
        same = (own[None, :] == own[:, None]).sum(1) - 1
        found[known] = (below + same / 2) / (len(own) - 1)
    return found


def resamples(
    pictures: int, seed: int, draws: int = DRAWS, purpose: str = "bootstrap"
) -> np.ndarray:
    """Returns which pictures each draw takes (draws, pictures), drawn with replacement.

    A pure function of its arguments, so every candidate and measure can be drawn alike.
    """
    generator = np.random.default_rng(keyed.key(seed, purpose, pictures, draws))
    return generator.integers(0, pictures, (draws, pictures))
