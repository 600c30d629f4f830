"""What ``score.json`` holds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from renma.drawing.questions import Questions
from renma.judge.folder import Checkpoint, RunRecord
from renma.judge.scoring.choice import Choice
from renma.judge.scoring.measure import MEASURES, Scores
from renma.judge.scoring.readings import Reading
from renma.judge.verdict import Verdict

VERSION = 2
RUNNERS_UP = 2
"""Checkpoints that are named beside the best."""


@dataclass(frozen=True)
class Row:
    """One checkpoint, or the base model.

    Attributes:
        checkpoint: None is the base model.
        scores: measured.
        trigger: attributes read in pictures with the trigger, where they can be.
        plain: attributes read in pictures without.
    """

    checkpoint: Checkpoint | None
    scores: Scores
    trigger: Reading | None = None
    plain: Reading | None = None


def result(
    record: RunRecord,
    base: Row,
    tried: Sequence[Row],
    choice: Choice,
    said: Verdict,
    questions: Questions,
    **more: Any,
) -> dict[str, Any]:
    """Returns everything that was found, as JSON has it.

    Args:
        record: the run.
        base: the base model.
        tried: checkpoints from the least to the most trained.
        choice: among them.
        said: verdict and advice.
        questions: the prompts.
        more: further entries.
    """
    best = tried[choice.best]
    end = record.last("finished")
    wanted = record.run.judge.attributes
    runners = [tried[i] for i in choice.order[1 : 1 + RUNNERS_UP]]
    return {
        "version": VERSION,
        "best": path_of(record, best),
        "runners_up": [path_of(record, one) for one in runners],
        "state": said.state,
        "verdict": list(said.sentences),
        "advice": list(said.advice),
        "confidence": _round(choice.confidence),
        "measures": {n: vars(m) for n, m in MEASURES.items()},
        "base": _numbers(record, base, questions),
        "checkpoints": [
            _checkpoint(record, tried, i, choice, questions) for i in range(len(tried))
        ],
        "prompts": {
            "trigger": [one.text for one in questions.trigger],
            "class": [one.text for one in questions.plain],
        },
        "pictures": {
            "trigger": sum(one.pictures for one in questions.trigger),
            "class": sum(one.pictures for one in questions.plain),
        },
        "read_with": "attributes" if best.trigger else "features",
        "likeness": _likeness(best),
        "leakage": _leakage(best),
        "base_likeness": _likeness(base),
        "base_leakage": _leakage(base),
        "attributes": {n: _attribute(n, label, best, base) for n, label in wanted.items()},
        "seconds": end.get("seconds"),
        "peak_memory_mib": end.get("peak_memory_mib"),
        "seed": record.run.train.seed,
        **more,
    }


def path_of(record: RunRecord, row: Row) -> str | None:
    """Returns a checkpoint's file, seen from the run's folder."""
    if row.checkpoint is None:
        return None
    return row.checkpoint.path.relative_to(record.path).as_posix()


def _checkpoint(
    record: RunRecord,
    tried: Sequence[Row],
    index: int,
    choice: Choice,
    questions: Questions,
) -> dict[str, Any]:
    row = tried[index]
    assert row.checkpoint is not None
    return {
        "path": path_of(record, row),
        "label": row.checkpoint.label,
        "step": row.checkpoint.step,
        "place": choice.order.index(index) + 1,
        "merit": _round(choice.merits[index]),
        "merit_error": None if index == choice.best else _round(choice.errors[index]),
        "mean_rank": _round(choice.ranks[index]),
        **_numbers(record, row, questions),
    }


def _numbers(record: RunRecord, row: Row, questions: Questions) -> dict[str, Any]:
    scores = row.scores
    wanted = record.run.judge.attributes
    found: dict[str, Any] = {
        "scores": {name: _round(scores.values.get(name)) for name in MEASURES},
        "errors": {name: _round(scores.error(name)) for name in MEASURES if name in scores.each},
        "likeness": _likeness(row),
        "leakage": _leakage(row),
        "drift": {questions.plain[n].text: _round(share) for n, share in scores.drift.items()},
    }
    if row.trigger:
        found["likeness_error"] = _round(row.trigger.error)
        found["attributes"] = {
            name: {
                "likeness": _round(row.trigger.by_attribute[name]),
                "leakage": _round(row.plain.by_attribute[name]) if row.plain else None,
            }
            for name in wanted
        }
    return found


def _likeness(row: Row) -> float | None:
    return _round(row.trigger.mean if row.trigger else row.scores.values.get("likeness"))


def _leakage(row: Row) -> float | None:
    if row.trigger:
        return _round(row.plain.mean) if row.plain else None
    return _round(row.scores.values.get("leakage"))


def _attribute(name: str, label: str, best: Row, base: Row) -> dict[str, Any]:
    def share(reading: Reading | None) -> float | None:
        return _round(reading.by_attribute[name]) if reading else None

    return {
        "label": label,
        "likeness": share(best.trigger),
        "leakage": share(best.plain),
        "base_likeness": share(base.trigger),
        "base_leakage": share(base.plain),
    }


def shown(values: Mapping[str, float]) -> dict[str, float | None]:
    """Returns rounded numbers of every measure; None where one was not measured."""
    return {name: _round(values.get(name)) for name in MEASURES}


def _round(number: float | None) -> float | None:
    return None if number is None or not math.isfinite(number) else round(number, 4)
