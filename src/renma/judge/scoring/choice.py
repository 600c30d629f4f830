"""Which checkpoint is the best: merit, how sure it is, and what decides between equals.

Merit is likeness, less a quarter of the leakage above the base model's, less a quarter of what
prompt following has lost: all three are shares, so they add up. Among checkpoints that merit
cannot tell apart, the mean rank over every measure decides (as LyCORIS compares runs, arXiv
2309.14859).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from renma.judge import ranks
from renma.judge.folder import Checkpoint
from renma.judge.scoring.measure import MEASURES, Scores

LEAKAGE, FOLLOWING = 0.25, 0.25
"""What a point of leakage, and one of lost following, costs of a point of likeness."""
NEAR = 0.02
"""Merits that differ by less, and by less than their error, are equal."""


@dataclass(frozen=True)
class Judged:
    """One checkpoint with what was measured of it."""

    checkpoint: Checkpoint
    scores: Scores


@dataclass(frozen=True)
class Choice:
    """What was chosen among checkpoints.

    Attributes:
        best: index of the best.
        order: all indexes, the best first.
        merits: of each.
        errors: standard error of each merit's distance to the best, paired; 0 of the best.
        ranks: mean rank of each over all measures, 0 (worst) to 1 (best).
        confidence: share of draws of the pictures in which the best is best, or equal to it.
    """

    best: int
    order: tuple[int, ...]
    merits: tuple[float, ...]
    errors: tuple[float, ...]
    ranks: tuple[float, ...]
    confidence: float


def choose(tried: Sequence[Judged], base: Scores, seed: int) -> Choice:
    """Returns the best of checkpoints that drew the same prompts from the same noise.

    Args:
        tried: from the least to the most trained; likeness was measured of each.
        base: the base model's scores.
        seed: of the draws that confidence is counted in.
    """
    merits = [merit(one.scores, base) for one in tried]
    mean_ranks = ranks_of([one.scores for one in tried]).tolist()
    worth = [_worth(one.scores, each) for one, each in zip(tried, merits, strict=True)]
    top = worth.index(max(worth))
    equal = [i for i in range(len(tried)) if i == top or _equal(tried, worth, i, top)]
    best = max(equal, key=lambda i: (mean_ranks[i], merits[i], -i))
    rest = sorted(set(range(len(tried))) - {best}, key=lambda i: (*(-w for w in worth[i]), i))
    return Choice(
        best,
        (best, *rest),
        tuple(merits),
        tuple(_error(one.scores, tried[best].scores) for one in tried),
        tuple(mean_ranks),
        _confidence(tried, base, best, seed),
    )


def merit(scores: Scores, base: Scores) -> float:
    """Returns likeness less the price of leakage and of lost prompt following."""
    return float(_merit(scores.values, base.values))


def ranks_of(scores: Sequence[Scores]) -> np.ndarray:
    """Returns the mean rank of each over the measures that have a better side (candidates,)."""
    rows = []
    for name, measure in MEASURES.items():
        if measure.better != "none":
            column = np.array([one.values.get(name, math.nan) for one in scores])
            rows.append(ranks.ranked(column, measure.better))
    known = np.array(rows)
    counts = (~np.isnan(known)).sum(0)
    return np.where(counts > 0, np.nansum(known, 0) / np.maximum(counts, 1), 0.5)


def _damaged(scores: Scores) -> bool:
    return scores.values.get("not_finite", 0) > 0


def _worth(scores: Scores, merit: float) -> tuple[bool, float]:
    """Returns what orders checkpoints: one with damaged weights comes behind all others."""
    if math.isnan(merit):
        return False, -math.inf
    return not _damaged(scores), merit


def _equal(tried: Sequence[Judged], worth: Sequence[tuple[bool, float]], i: int, top: int) -> bool:
    (sound, merit), (best_sound, best) = worth[i], worth[top]
    error = _error(tried[i].scores, tried[top].scores)
    return sound == best_sound and best - merit <= min(error, NEAR)


def _merit(now: Mapping[str, float], base: Mapping[str, float]) -> float:
    found = now["likeness"]
    if "leakage" in now and "leakage" in base:
        found = found - LEAKAGE * np.maximum(0, now["leakage"] - base["leakage"])
    if "following" in now and "following" in base:
        found = found - FOLLOWING * np.maximum(0, base["following"] - now["following"])
    return found


def _error(one: Scores, other: Scores) -> float:
    """Returns the standard error of the difference of two merits, paired by picture."""
    parts = []
    for name, price in (("likeness", 1.0), ("leakage", LEAKAGE), ("following", FOLLOWING)):
        if name in one.each and name in other.each:
            difference = price * (one.each[name] - other.each[name])
            if len(difference) > 1:
                parts.append(difference.std(ddof=1) / math.sqrt(len(difference)))
    return float(np.sqrt(np.sum(np.square(parts))))


def _confidence(tried: Sequence[Judged], base: Scores, best: int, seed: int) -> float:
    if len(tried) < 2:
        return 1.0
    # those with damaged weights are no choice, unless all are
    damaged = _damaged(tried[best].scores)
    rivals = [one for one in tried if _damaged(one.scores) == damaged]
    drawn = np.stack([_drawn(one.scores, base, seed) for one in rivals])  # (candidates, draws)
    chosen = _drawn(tried[best].scores, base, seed)
    return float((chosen >= np.nan_to_num(drawn, nan=-np.inf).max(0) - NEAR).mean())


def _drawn(scores: Scores, base: Scores, seed: int) -> np.ndarray:
    """Returns the merit in each draw of the pictures; every checkpoint is drawn alike."""
    rows: dict[str, dict[str, np.ndarray]] = {"now": {}, "base": {}}
    for key, one in (("now", scores), ("base", base)):
        for name, purpose in (("likeness", "t"), ("following", "t"), ("leakage", "p")):
            if name in scores.each and name in base.each:
                each = one.each[name]
                taken = ranks.resamples(len(each), seed, purpose=f"judge {purpose}")
                rows[key][name] = each[taken].mean(1)
    return np.asarray(_merit(rows["now"], rows["base"]))  # pyright: ignore[reportArgumentType]
