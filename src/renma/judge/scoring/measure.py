"""All measures of a set of pictures drawn with one checkpoint, or with the base model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from renma.judge import measures
from renma.judge.scoring.following import follows
from renma.judge.scoring.subject import Subject

Better = Literal["high", "low", "none"]


@dataclass(frozen=True)
class Measure:
    """What a number is about."""

    title: str
    better: Better
    help: str


MEASURES: Mapping[str, Measure] = {
    "likeness": Measure(
        "Likeness",
        "high",
        "How far pictures of the trigger prompts have gone from what the base model draws (0) to "
        "what real pictures show (1).",
    ),
    "leakage": Measure(
        "Leakage",
        "low",
        "The same for prompts without the trigger: how much of the subject appears unasked.",
    ),
    "following": Measure(
        "Prompt following",
        "high",
        "Share of the pictures that show what the rest of their prompt asks for: of all prompts, "
        "they are nearest to what the base model draws for their own.",
    ),
    "drift": Measure(
        "Drift",
        "low",
        "How much pictures without the trigger differ from the base model's of the same noise; 1 "
        "is as much as another seed does.",
    ),
    "diversity": Measure(
        "Diversity",
        "high",
        "Different pictures among those of the trigger (Vendi score), against the base model.",
    ),
    "copying": Measure(
        "Copying",
        "low",
        "Share of the pictures that are nearer to a training picture than training pictures "
        "hardly ever are to one another.",
    ),
    "style": Measure(
        "Style distance",
        "low",
        "Distance between the mean picture of the trigger and the mean real one; 1 is the base "
        "model's.",
    ),
    "loss": Measure(
        "Loss",
        "low",
        "Error on real pictures at fixed timesteps and noise, held-out ones where there are any.",
    ),
    "norm": Measure("Norm", "none", "Size of the LoRA's update over all layers together."),
    "effective_rank": Measure(
        "Effective rank", "none", "How many directions a layer's update really uses, on average."
    ),
}


@dataclass(frozen=True)
class Drawn:
    """Features of the pictures of one checkpoint.

    Attributes:
        trigger: (pictures, d) of prompts with the trigger.
        plain: (pictures, d) of prompts without; empty where there are none.
    """

    trigger: np.ndarray
    plain: np.ndarray


@dataclass(frozen=True)
class Scores:
    """What was measured of one checkpoint; a name that is missing was not.

    Attributes:
        values: by measure.
        each: by measure, a number for each picture, where there is one.
        drift: by number of the prompt without trigger.
    """

    values: dict[str, float] = field(default_factory=dict)
    each: dict[str, np.ndarray] = field(default_factory=dict)
    drift: dict[int, float] = field(default_factory=dict)

    def error(self, name: str) -> float | None:
        """Returns the standard error of a measure's mean over pictures."""
        rows = self.each.get(name)
        if rows is None or len(rows) < 2:
            return None
        return float(rows.std(ddof=1) / math.sqrt(len(rows)))


class Yardstick:
    """What checkpoints are measured with.

    Args:
        real: features of real training pictures.
        held_out: of real pictures that were not trained on; None where there are none.
        base: of the base model's pictures.
        trigger_prompts: (pictures,) number of each trigger picture's prompt.
        plain_prompts: the same of those without trigger.
    """

    def __init__(
        self,
        real: np.ndarray,
        held_out: np.ndarray | None,
        base: Drawn,
        trigger_prompts: Sequence[int],
        plain_prompts: Sequence[int],
    ) -> None:
        everything = np.concatenate([base.trigger, base.plain]) if len(base.plain) else base.trigger
        self.subject = Subject.learn(real, everything, held_out)
        self._real = self.subject.scaled(real)
        self.base = base
        self._trigger = np.asarray(trigger_prompts)
        self._plain = np.asarray(plain_prompts)
        self._style = measures.centroid_distance(self.subject.scaled(base.trigger), self._real)
        self._variety = measures.vendi(self.subject.scaled(base.trigger)).effective

    def measured(self, drawn: Drawn) -> Scores:
        """Returns what can be said from pictures alone."""
        scores = Scores()
        scaled = self.subject.scaled(drawn.trigger)
        trigger, plain = self._places(drawn)
        _put(scores, "likeness", trigger)
        if len(drawn.plain):
            _put(scores, "leakage", plain)
            self._drift(scores, drawn)
        if self._several():
            _put(scores, "following", follows(drawn.trigger, self.base.trigger, self._trigger))
        scores.values["diversity"] = measures.vendi(scaled).effective / self._variety
        try:
            near = measures.copying(scaled, self._real)
        except ValueError:  # all training pictures are one and the same
            pass
        else:
            _put(scores, "copying", (near.distances < near.limit).astype(float))
        if self._style > 0:
            distance = measures.centroid_distance(scaled, self._real)
            scores.values["style"] = distance / self._style
        return scores

    def _places(self, drawn: Drawn) -> tuple[np.ndarray, np.ndarray]:
        if drawn is not self.base:
            return self.subject.likeness(drawn.trigger), self.subject.likeness(drawn.plain)
        # the line was laid through these: told from where each lies without it
        both = np.clip(self.subject.base, 0, 1)
        return both[: len(drawn.trigger)], both[len(drawn.trigger) :]

    def real(self) -> dict[str, float]:
        """Returns what real pictures score, for comparison."""
        likeness = float(np.clip(self.subject.real, 0, 1).mean())
        variety = measures.vendi(self._real).effective / self._variety
        return {"likeness": likeness, "diversity": variety, "style": 0.0}

    def _several(self) -> bool:
        _, counts = np.unique(self._trigger, return_counts=True)
        return len(counts) > 1 and counts.min() > 1

    def _drift(self, scores: Scores, drawn: Drawn) -> None:
        base, now = (self.subject.scaled(one.plain) for one in (self.base, drawn))
        for prompt in dict.fromkeys(self._plain.tolist()):
            chosen = self._plain == prompt
            moved = np.linalg.norm(now[chosen] - base[chosen], axis=1)
            usual = _between(base[chosen])
            if usual > 0:
                scores.drift[prompt] = float(moved.mean() / usual)
        if scores.drift:
            scores.values["drift"] = float(np.mean(list(scores.drift.values())))


def _between(rows: np.ndarray) -> float:
    """Returns the mean distance between different rows; 0 of a single one."""
    if len(rows) < 2:
        return 0.0
    distances = np.linalg.norm(rows[:, None] - rows[None], axis=2)
    return float(distances[~np.eye(len(rows), dtype=bool)].mean())


def _put(scores: Scores, name: str, each: np.ndarray) -> None:
    scores.each[name] = each
    scores.values[name] = float(each.mean())
