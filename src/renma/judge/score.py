"""Scores of checkpoints: likeness with the trigger, leakage without it, beside the base model.

Likeness is the mean share of the wanted attributes that a classifier reads in pictures of the
trigger prompts; leakage the same share in pictures of the class prompts. Every checkpoint and the
base model draw from the same noise, so differences are paired. Nothing is scored where nothing can
be read: a number that stands in ``score.json`` was measured.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

from renma.config.run_tasks import JudgeOptions
from renma.core import keyed
from renma.core.errors import UserError, did_you_mean
from renma.core.events import Report
from renma.core.store import write_atomic, write_text
from renma.drawing.sheet import sheet
from renma.judge.folder import Checkpoint, RunRecord
from renma.judge.grid import shot
from renma.judge.paint import Cell, Painter, open_painter
from renma.judge.verdict import Judged, Measured, best_of, verdict

WEIGHT = 1.0
"""LoRA weight that checkpoints are scored at."""
EVIDENCE = 6
"""Pictures a row in ``score.png``."""


class Label(Protocol):
    """What a reader found for one attribute."""

    @property
    def label(self) -> str:
        """The most probable label."""
        ...


class Reader(Protocol):
    """Reads attributes back from pictures."""

    @property
    def heads(self) -> Mapping[str, Sequence[str]]:
        """Every attribute with its labels."""
        ...

    def read(self, images: Sequence[Image.Image]) -> Sequence[Mapping[str, Label]]:
        """Returns attribute to label for each picture."""
        ...


def run(options: JudgeOptions, report: Report) -> None:
    """Scores a run; writes ``score.json`` and, where scored, ``score.png``.

    Raises:
        UserError: no run's folder, no checkpoint, attributes that nobody knows.
    """
    folder = RunRecord.open(options.folder)
    folder.need_checkpoints()
    reason = unscorable(folder)
    if reason:
        result = _result(folder, None, [], {}, [f"Not scored: {reason}"])
    else:
        from renma.judge.attributes import AttributeReader

        reader = AttributeReader.load()
        result = judge(folder, open_painter(folder, report), reader)
    write_text(folder.path / "score.json", json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    for sentence in result["verdict"]:
        report.line(sentence)
    report.line(f"score: {folder.path / 'score.json'}")


def unscorable(folder: RunRecord) -> str:
    """Returns why a run cannot be scored, or an empty text."""
    run = folder.run
    if run.model.path != "mame":
        return (
            "attributes can be read only in pictures of the embedded model mame, and this LoRA "
            "stands on another model. Compare checkpoints by eye in the grid."
        )
    if not run.judge.attributes:
        return (
            "nobody said what to look for. Write attributes into [judge] of the run's run.toml, "
            'such as hair_colour = "pink" (the reader knows style, hair, hair_colour, skin, eyes, '
            "eyewear, mouth, facial_hair, clothes, background). The grid shows the rest."
        )
    if not run.judge.trigger_prompts:
        return "[judge] trigger_prompts is empty, so there is nothing to draw."
    return ""


def judge(folder: RunRecord, painter: Painter, reader: Reader) -> dict[str, Any]:
    """Returns what ``score.json`` holds and writes the pictures behind it as ``score.png``."""
    wanted = folder.run.judge.attributes
    _check(reader.heads, wanted, folder.path / "run.toml")
    trigger = _cells(folder, folder.run.judge.trigger_prompts)
    plain = _cells(folder, folder.run.judge.class_prompts)
    judged: list[Judged] = []
    shown: list[list[Image.Image]] = []
    for checkpoint in (None, *folder.need_checkpoints()):
        path = checkpoint.path if checkpoint else None
        cells = [Cell(c.shot, path, WEIGHT, WEIGHT) for c in (*trigger, *plain)]
        pictures = painter.paint(cells)
        readings = reader.read(pictures)
        with_trigger = measure(readings[: len(trigger)], wanted)
        without = measure(readings[len(trigger) :], wanted) if plain else None
        judged.append(Judged(checkpoint, with_trigger, without))
        shown.append(pictures)
    base, *tried = judged
    best = best_of(tried, base)
    _evidence(folder, shown[0], shown[1 + tried.index(best)], len(trigger), best)
    sentences = verdict(tried, base, wanted, _reg_pictures(folder))
    return _result(folder, base, tried, wanted, sentences)


def measure(readings: Sequence[Mapping[str, Label]], wanted: Mapping[str, str]) -> Measured:
    """Returns the share of wanted attributes in each picture and of pictures for each attribute."""
    hits = [
        {name: reading[name].label == label for name, label in wanted.items()}
        for reading in readings
    ]
    shares = tuple(sum(hit.values()) / len(wanted) for hit in hits)
    return Measured(shares, {n: sum(hit[n] for hit in hits) / len(hits) for n in wanted})


def _cells(folder: RunRecord, texts: Sequence[str]) -> list[Cell]:
    judge, seed = folder.run.judge, folder.run.train.seed
    return [
        Cell(shot(folder, text, keyed.key(seed, "judge", number, i) % 2**31))
        for number, text in enumerate(texts)
        for i in range(judge.pictures)
    ]


def _check(heads: Mapping[str, Sequence[str]], wanted: Mapping[str, str], where: Path) -> None:
    """Makes sure that everything wanted can be read.

    Raises:
        UserError: an attribute or a label that the reader does not know.
    """
    for name, label in wanted.items():
        known = heads.get(name, heads)
        word, what = (label, f"label of {name}") if name in heads else (name, "attribute")
        if word not in known:
            raise UserError(
                f"judge.attributes: '{word}' is no {what} that can be read",
                where=where,
                remedy=did_you_mean(word, known) or f"Known: {', '.join(sorted(known))}.",
            )


def _reg_pictures(folder: RunRecord) -> int:
    plan = folder.last("started").get("plan", {})
    return int(plan.get("reg_pictures", 0))


def _result(
    folder: RunRecord,
    base: Judged | None,
    tried: list[Judged],
    wanted: Mapping[str, str],
    sentences: list[str],
) -> dict[str, Any]:
    end = folder.last("finished")
    best = best_of(tried, base) if base else None
    return {
        "likeness": _mean(best and best.likeness),
        "leakage": _mean(best and best.leakage),
        "base_likeness": _mean(base and base.likeness),
        "base_leakage": _mean(base and base.leakage),
        "seconds": end.get("seconds"),
        "peak_memory_mib": end.get("peak_memory_mib"),
        "seed": folder.run.train.seed,
        "weight": WEIGHT,
        "best": _path(folder, best.checkpoint) if best and best.checkpoint else None,
        "checkpoints": [_row(folder, one, base) for one in tried if base],
        "attributes": {name: _attribute(name, label, best, base) for name, label in wanted.items()},
        "pictures": {
            "trigger": len(base.likeness.shares) if base else 0,
            "class": len(base.leakage.shares) if base and base.leakage else 0,
        },
        "verdict": sentences,
    }


def _row(folder: RunRecord, one: Judged, base: Judged) -> dict[str, Any]:
    assert one.checkpoint is not None
    return {
        "path": _path(folder, one.checkpoint),
        "label": one.checkpoint.label,
        "step": one.checkpoint.step,
        "likeness": _mean(one.likeness),
        "likeness_error": _round(one.likeness.error),
        "leakage": _mean(one.leakage),
        "leakage_error": _round(one.leakage.error) if one.leakage else None,
        "merit": _round(one.merit(base)),
        "attributes": {
            name: {"likeness": _round(share), "leakage": _share(one.leakage, name)}
            for name, share in one.likeness.by_attribute.items()
        },
    }


def _attribute(name: str, label: str, best: Judged | None, base: Judged | None) -> dict[str, Any]:
    return {
        "label": label,
        "likeness": _share(best and best.likeness, name),
        "leakage": _share(best and best.leakage, name),
        "base_likeness": _share(base and base.likeness, name),
        "base_leakage": _share(base and base.leakage, name),
    }


def _evidence(
    folder: RunRecord, base: list[Image.Image], best: list[Image.Image], split: int, judged: Judged
) -> None:
    """Writes some of the very pictures that were read."""
    label = judged.checkpoint.label if judged.checkpoint else ""
    rows, labels = [], []
    for kind, part in (("with trigger", slice(0, split)), ("without trigger", slice(split, None))):
        for who, pictures in (("base model", base), (label, best)):
            some = spread(pictures[part], EVIDENCE)
            if some:
                rows.append(some)
                labels.append(f"{who}, {kind}")
    columns = max(len(row) for row in rows)
    page = sheet(rows, row_labels=labels, column_labels=[f"noise {i + 1}" for i in range(columns)])
    write_atomic(
        folder.path / "score.png", lambda path: page.save(path, format="PNG", optimize=True)
    )


def spread(pictures: Sequence[Image.Image], most: int) -> list[Image.Image]:
    """Returns at most ``most`` pictures, evenly from all prompts."""
    if len(pictures) <= most:
        return list(pictures)
    return [pictures[i * len(pictures) // most] for i in range(most)]


def _path(folder: RunRecord, checkpoint: Checkpoint) -> str:
    return checkpoint.path.relative_to(folder.path).as_posix()


def _mean(measured: Measured | None) -> float | None:
    return _round(measured.mean) if measured else None


def _share(measured: Measured | None, name: str) -> float | None:
    return _round(measured.by_attribute[name]) if measured else None


def _round(number: float | None) -> float | None:
    return None if number is None else round(number, 4)
