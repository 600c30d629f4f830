"""What the scores mean, in sentences: the state of the run, why the best is best, what to do.

A statement about a difference is made only where it exceeds both a size that matters and twice its
standard error over the paired pictures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from renma.core.counted import counted
from renma.judge.scoring.choice import NEAR, Choice, Judged
from renma.judge.scoring.measure import Scores

State = Literal["under-trained", "well trained", "over-trained", "undecided"]
MATTERS = 0.05
"""Differences smaller than this are not worth a sentence."""
WEAK = 0.6
"""Likeness below which the subject is not there yet."""
RISING = 0.025
"""Gain in likeness from one checkpoint to the next from which it is still rising."""
ENOUGH = 0.9
"""Likeness from which more of it is not worth training on for."""
LEAKS = 0.15
"""Leakage above the base model's from which a LoRA is said to leak."""
LOST = 0.2
"""Prompt following below the base model's from which a LoRA is over-trained."""
FELL = 0.25
"""Prompt following below the best checkpoint's from which the last is over-trained; more than
:data:`LOST`, because the best is one picked among many."""
RISEN = 0.1
"""Share by which the loss on real pictures may lie above its least; more at the end is
over-training: other pictures are forgotten, or the training shakes what it had learnt."""
COPIES = 0.25
"""Share of pictures that are copies from which it is said."""
FEW = 8
"""Pictures below which nothing is decided."""


@dataclass(frozen=True)
class Verdict:
    """What is said about a run."""

    state: State
    sentences: tuple[str, ...]
    advice: tuple[str, ...]


def verdict(
    tried: Sequence[Judged], base: Scores, choice: Choice, *, reg_pictures: int, held_out: int
) -> Verdict:
    """Returns the state of a run, sentences about it, the most important first, and advice.

    Args:
        tried: checkpoints from the least to the most trained.
        base: the base model on the same prompts and noise.
        choice: among them.
        reg_pictures: regularisation pictures of the run.
        held_out: real pictures that were not trained on.
    """
    best, last = tried[choice.best], tried[-1]
    state = _state(tried, base, choice)
    pairs = [
        _which(tried, choice),
        _learnt(best, tried, state),
        _later(tried, choice, base, state),
        _leak(best, base, reg_pictures),
        _follows(best, base, told=best is last and state == "over-trained"),
        _copies(best),
        _sick(tried),
        _sure(choice, tried, best, held_out),
    ]
    sentences = tuple(text for text, _ in pairs if text)
    return Verdict(state, sentences, tuple(dict.fromkeys(tip for _, tip in pairs if tip)))


def percent(share: float) -> str:
    """Returns a share as a whole percentage."""
    return f"{share * 100:.0f} %"


Said = tuple[str, str]
"""A sentence and an advice; either may be empty."""


def _state(tried: Sequence[Judged], base: Scores, choice: Choice) -> State:
    best, last = tried[choice.best], tried[-1]
    if len(best.scores.each["likeness"]) < FEW:
        return "undecided"
    if _over(tried, base, choice):
        return "over-trained"
    if best.scores.values["likeness"] < WEAK:
        return "under-trained"
    if best is last and _rising(tried):
        return "under-trained"
    return "well trained"


def _over(tried: Sequence[Judged], base: Scores, choice: Choice) -> bool:
    """Says whether the run went on for too long: the last is worse, obeys less, or errs more."""
    last, best = tried[-1].scores, tried[choice.best].scores
    lost = _lost(last, base) > LOST or _lost(last, best) > FELL
    return _worse(choice) > 0 or lost or _risen(tried) > RISEN


def _worse(choice: Choice) -> float:
    """Returns how much the last is worse than the best, 0 if that does not matter or is noise."""
    gap = choice.merits[choice.best] - choice.merits[-1]
    return gap if gap > MATTERS and gap > 2 * choice.errors[-1] else 0.0


def _risen(tried: Sequence[Judged]) -> float:
    """Returns the share by which the last loss lies above the least, 0 if within its error."""
    known = [one.scores for one in tried if "loss" in one.scores.each]
    if not known or known[-1] is not tried[-1].scores:
        return 0.0
    least = min(known, key=lambda scores: scores.values["loss"])
    return _differs(known[-1], least, "loss") / max(least.values["loss"], 1e-12)


def _lost(scores: Scores, before: Scores) -> float:
    """Returns how much prompt following fell below what it was, 0 if within its error.

    Args:
        scores: of a checkpoint.
        before: of the base model, or of a better checkpoint.
    """
    return _differs(before, scores, "following")


def _rising(tried: Sequence[Judged]) -> bool:
    if len(tried) < 2 or tried[-1].scores.values["likeness"] >= ENOUGH:
        return False
    return _differs(tried[-1].scores, tried[-2].scores, "likeness") > RISING


def _which(tried: Sequence[Judged], choice: Choice) -> Said:
    best = tried[choice.best]
    likeness = percent(best.scores.values["likeness"])
    text = f"{best.checkpoint.label} ({best.checkpoint.path.name}): likeness {likeness}"
    if "leakage" in best.scores.values:
        text += f", leakage {percent(best.scores.values['leakage'])}"
    if "following" in best.scores.values:
        text += f", prompt following {percent(best.scores.values['following'])}"
    if len(tried) == 1:
        return f"The only checkpoint is {text}.", "Keep more of them: train.save_every_steps."
    others = [tried[i] for i in choice.order[1:3]]
    named = " and ".join(
        f"{one.checkpoint.label} ({percent(one.scores.values['likeness'])})" for one in others
    )
    ups = "Runner-up is" if len(others) == 1 else "Runners-up are"
    return f"Best of {len(tried)} checkpoints is {text}. {ups} {named}.", ""


def _learnt(best: Judged, tried: Sequence[Judged], state: State) -> Said:
    likeness = best.scores.values["likeness"]
    if state == "under-trained" and likeness < WEAK:
        much = "hardly" if likeness < WEAK / 2 else "only partly"
        text = (
            f"Under-trained: the trigger is {much} learnt ({percent(likeness)} of the way from the "
            "base model to real pictures)."
        )
        if len(tried) == 1 or _rising(tried):
            return text, "Train longer, or raise optimizer.learning_rate."
        return text, "Raise optimizer.learning_rate or adapter.rank: more steps bring little."
    if state == "under-trained":
        before = percent(tried[-2].scores.values["likeness"])
        text = (
            f"Under-trained: likeness is still rising ({before} to {percent(likeness)} at the last "
            "two checkpoints)."
        )
        return text, "Train on: --resume with a larger train.max_steps."
    return "", ""


def _later(tried: Sequence[Judged], choice: Choice, base: Scores, state: State) -> Said:
    best, last = tried[choice.best], tried[-1]
    if state != "over-trained":
        text = "Later checkpoints are no better." if best is not last else ""
        return text, ""
    gap, lost, fell = (
        _worse(choice),
        _lost(last.scores, base),
        _lost(last.scores, best.scores),
    )
    reasons = [f"is {gap * 100:.0f} points below the best in merit"] if gap else []
    if lost > LOST:
        points = f"{lost * 100:.0f} points"
        reasons.append(f"follows the prompt {points} less often than the base model does")
    elif fell > FELL:
        points = f"{fell * 100:.0f} points"
        reasons.append(f"follows the prompt {points} less often than the best does")
    if (risen := _risen(tried)) > RISEN:
        reasons.append(f"has {percent(risen)} more loss on real pictures than the least had")
    about = "the only checkpoint" if len(tried) == 1 else last.checkpoint.label
    advice = (
        f"Use {best.checkpoint.path.name}; next time stop there."
        if best is not last and _lost(best.scores, base) <= LOST
        else "Use fewer steps, a lower optimizer.learning_rate or a smaller adapter.rank."
    )
    return f"Over-trained: {about} {' and '.join(reasons)}.", advice


def _leak(best: Judged, base: Scores, reg_pictures: int) -> Said:
    if "leakage" not in best.scores.values:
        return "Leakage was not measured: there is no prompt without the trigger.", ""
    excess, likeness = _differs(best.scores, base, "leakage"), best.scores.values["likeness"]
    if likeness < WEAK and excess > likeness / 2:
        text = "The trigger means little yet: without it, pictures change nearly as much."
        return (
            text,
            "" if reg_pictures else "Add regularisation pictures: renma prepare regularize.",
        )
    if excess <= LEAKS:
        return "It does not leak: without the trigger the class looks as before.", ""
    advice = (
        "Add more regularisation pictures, or lower optimizer.text_encoder_lr."
        if reg_pictures
        else "Add regularisation pictures: renma prepare regularize."
    )
    text = (
        f"It leaks into the class word: without the trigger, {excess * 100:.0f} points more of the "
        "subject than in the base model's pictures."
    )
    return text, advice


def _follows(best: Judged, base: Scores, told: bool) -> Said:
    lost = _lost(best.scores, base)
    if told or lost <= MATTERS:
        return "", ""
    text = (
        f"It follows the rest of the prompt {lost * 100:.0f} points less often than the base "
        "model does."
    )
    return text, "Caption what should stay free to change, or use fewer steps."


def _copies(best: Judged) -> Said:
    copies = best.scores.values.get("copying", 0.0)
    if copies < COPIES:
        return "", ""
    return (
        f"{percent(copies)} of its pictures are nearly training pictures.",
        "Use more different pictures, fewer steps, or a smaller adapter.rank.",
    )


def _sick(tried: Sequence[Judged]) -> Said:
    names = [one.checkpoint.path.name for one in tried if one.scores.values.get("not_finite")]
    if not names:
        return "", ""
    verb = "holds" if len(names) == 1 else "hold"
    return (
        f"{', '.join(names)} {verb} numbers that are none (NaN).",
        "Train anew in higher precision, or with a lower optimizer.learning_rate.",
    )


def _sure(choice: Choice, tried: Sequence[Judged], best: Judged, held_out: int) -> Said:
    count = len(best.scores.each["likeness"])
    error = best.scores.error("likeness")
    real = "held-out" if held_out else "training"
    text = f"Measured on {counted(count, 'picture')} with the trigger against real {real} pictures"
    if error is not None:
        text += f", give or take {counted(round(error * 100), 'point')}"
    if len(tried) > 1:
        sure = percent(choice.confidence)
        text += f"; drawn anew, no checkpoint is more than {NEAR * 100:.0f} points better in {sure}"
    advice = ""
    if count < FEW:
        advice = f"Fewer than {FEW} pictures decide nothing: raise judge.pictures."
    return f"{text}.", advice


def _differs(one: Scores, other: Scores, name: str, errors: float = 2.0) -> float:
    """Returns the mean paired difference, or 0 where it is within ``errors`` standard errors."""
    if name not in one.each or name not in other.each:
        return 0.0
    differences = one.each[name] - other.each[name]
    mean = float(differences.mean())
    error = 0.0
    if len(differences) > 1:
        error = float(differences.std(ddof=1)) / math.sqrt(len(differences))
    return mean if mean > errors * error else 0.0
