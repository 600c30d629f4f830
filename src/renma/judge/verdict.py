"""What the scores mean: the best checkpoint, and sentences for people.

Merit is likeness minus excess leakage, that is leakage above what the base model shows anyway.
A statement about a difference is made only where it exceeds both a size that matters and twice its
standard error over the paired pictures (one error for the mild "still rising").
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from renma.judge.folder import Checkpoint

MATTERS = 0.05
"""Differences of shares smaller than this are not worth a sentence."""
LEAKS = 0.10
"""Excess leakage from which a LoRA is said to leak."""
WEAK = 0.6
"""Attributes brought back in fewer pictures than this are named."""


@dataclass(frozen=True)
class Measured:
    """Shares read in a set of pictures, all between 0 and 1."""

    shares: tuple[float, ...]
    """For each picture, the share of the wanted attributes."""
    by_attribute: Mapping[str, float]
    """For each attribute, the share of the pictures."""

    @property
    def mean(self) -> float:
        """The mean share."""
        return statistics.fmean(self.shares)

    @property
    def error(self) -> float | None:
        """Standard error of the mean over pictures; unknown for a single one."""
        return standard_error(self.shares)


@dataclass(frozen=True)
class Judged:
    """One checkpoint, or the base model, with what was read."""

    checkpoint: Checkpoint | None
    likeness: Measured
    leakage: Measured | None

    def excess(self, base: Judged) -> float:
        """Returns leakage above the base model's, at least 0; 0 where it was not measured."""
        if self.leakage is None or base.leakage is None:
            return 0.0
        return max(0.0, self.leakage.mean - base.leakage.mean)

    def merit(self, base: Judged) -> float:
        """Returns likeness minus excess leakage."""
        return self.likeness.mean - self.excess(base)


def standard_error(numbers: Sequence[float]) -> float | None:
    """Returns the standard error of a mean, or None for fewer than two numbers."""
    if len(numbers) < 2:
        return None
    return statistics.stdev(numbers) / math.sqrt(len(numbers))


def best_of(tried: Sequence[Judged], base: Judged) -> Judged:
    """Returns the checkpoint of the highest merit; of equal ones the earlier."""
    return max(tried, key=lambda one: round(one.merit(base), 9))


def verdict(
    tried: Sequence[Judged], base: Judged, wanted: Mapping[str, str], reg_pictures: int
) -> list[str]:
    """Returns the verdict as sentences, the most important first.

    Args:
        tried: checkpoints from the least to the most trained.
        base: the base model on the same prompts and noise.
        wanted: attribute to label.
        reg_pictures: regularisation pictures of the run.
    """
    best = best_of(tried, base)
    sentences = [
        _headline(best, base),
        _learnt(best, base),
        _leak(best, base, reg_pictures),
        _which(tried, best, base),
        _rising(tried, best),
        _weak(best, wanted),
        _noise(best),
    ]
    return [sentence for sentence in sentences if sentence]


def percent(share: float) -> str:
    """Returns a share as a whole percentage."""
    return f"{share * 100:.0f} %"


def _headline(best: Judged, base: Judged) -> str:
    text = f"The trigger brings back {percent(best.likeness.mean)} of the attributes"
    if best.leakage is None or base.leakage is None:
        return f"{text}. Leakage was not measured: [judge] class_prompts is empty."
    return (
        f"{text}; without the trigger they appear in {percent(best.leakage.mean)} "
        f"(base model {percent(base.leakage.mean)})."
    )


def _learnt(best: Judged, base: Judged) -> str:
    before = percent(base.likeness.mean)
    if _differs(best.likeness, base.likeness) > MATTERS:
        return f"The base model shows {before} of them for the same prompts."
    return (
        f"The trigger is hardly learnt: the base model shows {before} for the same prompts. "
        "Train longer or raise optimizer.learning_rate."
    )


def _leak(best: Judged, base: Judged, reg_pictures: int) -> str:
    if best.leakage is None or base.leakage is None:
        return ""
    if _differs(best.leakage, base.leakage) <= LEAKS:
        return "It does not leak: without the trigger the class looks as before."
    points = round((best.leakage.mean - base.leakage.mean) * 100)
    advice = (
        "add more regularisation pictures or use fewer steps"
        if reg_pictures
        else "add regularisation pictures (data.reg_folder)"
    )
    return f"It leaks into the class, {points} points above the base model: {advice}."


def _which(tried: Sequence[Judged], best: Judged, base: Judged) -> str:
    if len(tried) == 1 or best.checkpoint is None:
        return ""
    last = tried[-1]
    text = (
        f"Best checkpoint: {best.checkpoint.label} of {len(tried)} ({best.checkpoint.path.name})."
    )
    gap = best.merit(base) - last.merit(base)
    if best is last or last.checkpoint is None:
        return text
    if gap > MATTERS and gap > 2 * (last.likeness.error or 0.0):
        return f"{text} The {last.checkpoint.label} is {gap * 100:.0f} points worse: over-trained."
    return f"{text} Later ones are no better."


def _rising(tried: Sequence[Judged], best: Judged) -> str:
    if len(tried) < 2 or best is not tried[-1]:
        return ""
    before = tried[-2].likeness
    if best.likeness.mean > 0.97 or _differs(best.likeness, before, errors=1.0) <= 0.02:
        return ""
    return (
        f"Likeness is still rising ({percent(before.mean)} to {percent(best.likeness.mean)} "
        "at the last two checkpoints): train on."
    )


def _weak(best: Judged, wanted: Mapping[str, str]) -> str:
    weak = sorted(
        (share, name) for name, share in best.likeness.by_attribute.items() if share < WEAK
    )
    if not weak:
        return ""
    named = ", ".join(
        f"{name.replace('_', ' ')} {wanted[name]} ({percent(share)})" for share, name in weak[:3]
    )
    return f"Weakest: {named}."


def _noise(best: Judged) -> str:
    count, error = len(best.likeness.shares), best.likeness.error
    if error is None:
        return "Measured on a single picture: raise [judge] pictures for a figure to rely on."
    text = f"Measured on {count} pictures with the trigger, give or take {error * 100:.0f} points"
    if best.leakage is None or best.leakage.error is None:
        return f"{text} (one standard error)."
    without, spread = len(best.leakage.shares), best.leakage.error * 100
    return f"{text}, and {without} without it, give or take {spread:.0f} (one standard error)."


def _differs(one: Measured, other: Measured, errors: float = 2.0) -> float:
    """Returns the mean paired difference, or 0 where it is within ``errors`` standard errors."""
    differences = [a - b for a, b in zip(one.shares, other.shares, strict=True)]
    mean = statistics.fmean(differences)
    return mean if mean > errors * (standard_error(differences) or 0.0) else 0.0
