"""``score.json`` as the page shows it: a chosen file, a table of measures, curves over steps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from renma.core.store import file_hash
from renma.judge.folder import RunRecord
from renma.judge.report import facts, score_file
from renma.judge.report.chart import Chart, Curve, chart
from renma.judge.report.score_file import CheckpointScores, Number, ScoreFile
from renma.judge.report.sentences import bounded, left_out
from renma.judge.scoring.choice import FOLLOWING, LEAKAGE

CHARTED = ("likeness", "leakage", "following", "loss")
"""Measures drawn over the steps, where they were measured."""
STATES = {
    "under-trained": ("Under-trained", "warn"),
    "well trained": ("Well trained", "good"),
    "over-trained": ("Over-trained", "warn"),
    "undecided": ("Undecided", "plain"),
}
"""What a run can be called, with the style of its badge."""
ARROWS = {"high": ("↑", "higher is better"), "low": ("↓", "lower is better"), "none": ("", "")}
MOST_CHECKPOINTS, MOST_MEASURES, MOST_ATTRIBUTES = 200, 24, 60
"""Rows and columns of the tables."""
_LONGEST_NAME = 200  # characters
_MERIT = (
    f"What the checkpoints are ranked by: likeness, less {facts.percent(LEAKAGE)} of the leakage "
    f"above the base model's, less {facts.percent(FOLLOWING)} of lost prompt following. Behind ± "
    "stands one standard error."
)
_OLD_MERIT = "What renma 0.1 ranked the checkpoints by. Behind ± stands one standard error."


@dataclass(frozen=True)
class Chosen:
    """A checkpoint that the verdict names."""

    label: str
    file: str
    size: str
    sha256: str
    merit: str
    path: Path | None


@dataclass(frozen=True)
class Column:
    """One measure of the table."""

    title: str
    arrow: str
    direction: str
    help: str


@dataclass(frozen=True)
class Cell:
    """One number of the table; ``best`` marks the best checkpoint's value of its column."""

    text: str
    error: str = ""
    best: bool = False


@dataclass(frozen=True)
class Row:
    """The base model, real pictures, or a checkpoint."""

    label: str
    badge: str
    kind: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Scores:
    """All that the page shows of a score."""

    file: ScoreFile
    state: str
    state_style: str
    best: Chosen | None
    copied: str
    runners_up: tuple[Chosen, ...]
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    charts: tuple[Chart, ...]
    left_out: str
    """What the page does not show of the file."""


def read(folder: RunRecord) -> Scores | None:
    """Returns the run's score, or None where it was not judged.

    Raises:
        UserError: a score.json that is none.
    """
    path = folder.path / "score.json"
    return _scores(folder, score_file.read(path)) if path.is_file() else None


def _scores(folder: RunRecord, file: ScoreFile) -> Scores:
    whole, file = file, _bounded(file)
    rows = {row.path: row for row in file.checkpoints}
    best = rows.get(file.best or "")
    ahead = [rows[path] for path in file.runners_up if path in rows and path != file.best]
    if not file.runners_up and best:
        others = [row for row in file.checkpoints if row is not best and row.merit is not None]
        ahead = sorted(others, key=lambda row: -(row.merit or 0.0))
    state, style = STATES.get(file.state, (facts.cut(file.state, _LONGEST_NAME), "plain"))
    keys = [key for key in file.measures if _measured(file, key)]
    return Scores(
        file,
        state,
        style,
        _chosen(folder, best, file) if best else None,
        file.copied if file.copied and folder.inside(file.copied) else "",
        tuple(_chosen(folder, row, file) for row in ahead[:2]),
        tuple(_columns(file, keys)),
        tuple(_rows(file, keys, ahead[:2])),
        tuple(_charts(file, best)),
        left_out(
            "score.json",
            ("checkpoints", len(whole.checkpoints) - len(file.checkpoints)),
            ("measures", len(whole.measures) - len(file.measures)),
            ("attributes", len(whole.attributes) - len(file.attributes)),
        ),
    )


def _bounded(file: ScoreFile) -> ScoreFile:
    """Returns as much of a score as a page can hold: the named checkpoints, the first others."""
    named = {file.best, *file.runners_up[:3]}
    first = [row for row in file.checkpoints if row.path in named]
    rest = [row for row in file.checkpoints if row.path not in named]
    kept = {id(row) for row in [*first, *rest][:MOST_CHECKPOINTS]}
    measures = list(file.measures.items())[:MOST_MEASURES]
    attributes = list(file.attributes.items())[:MOST_ATTRIBUTES]
    changed: dict[str, Any] = {
        "checkpoints": [
            row.model_copy(update={"label": facts.cut(row.label or row.path, _LONGEST_NAME)})
            for row in file.checkpoints
            if id(row) in kept
        ],
        "measures": {
            key: one.model_copy(
                update={
                    "title": facts.cut(one.title or _title(key), _LONGEST_NAME),
                    "help": facts.cut(one.help),
                }
            )
            for key, one in measures
        },
        "attributes": {
            facts.cut(name, _LONGEST_NAME): one.model_copy(
                update={"label": facts.cut(one.label, _LONGEST_NAME)}
            )
            for name, one in attributes
        },
        "verdict": bounded(file.verdict, "score.json"),
        "advice": bounded(file.advice, "score.json"),
        "encoder": facts.cut(file.encoder),
    }
    return file.model_copy(update=changed)


def _title(key: str) -> str:
    return key.replace("_", " ").capitalize()


def _measured(file: ScoreFile, key: str) -> bool:
    sides = (file.base, file.real, *file.checkpoints)
    return any(side.scores.get(key) is not None for side in sides)


def _chosen(folder: RunRecord, row: CheckpointScores, file: ScoreFile) -> Chosen:
    path = folder.inside(row.path)
    size = facts.size(path.stat().st_size) if path else "the file is gone"
    merit = _with_error(row, file)
    return Chosen(row.label, row.path, size, file_hash(path) if path else "", merit, path)


def _with_error(row: CheckpointScores, file: ScoreFile) -> str:
    cell = _cell(row.merit, row.merit_error, 2, _merit_unit(file))
    return f"{cell.text} {cell.error}".strip()


def _merit_unit(file: ScoreFile) -> str:
    return "share" if file.version == 1 else ""


def _columns(file: ScoreFile, keys: Sequence[str]) -> list[Column]:
    merit = _OLD_MERIT if file.version == 1 else _MERIT
    found = [Column("Merit", *ARROWS["high"], merit)] if file.checkpoints else []
    for key in keys:
        measure = file.measures[key]
        found.append(Column(measure.title, *ARROWS[measure.better], measure.help))
    return found


def _rows(file: ScoreFile, keys: Sequence[str], ahead: Sequence[CheckpointScores]) -> list[Row]:
    digits = {key: _digits(file, key) for key in keys}
    tops = {key: _top(file, key) for key in keys}

    def cells(scores: Mapping[str, Number], errors: Mapping[str, Number]) -> tuple[Cell, ...]:
        return tuple(
            _cell(scores.get(key), errors.get(key), digits[key], file.measures[key].unit)
            for key in keys
        )

    places = {row.path: f"{i + 2}{'nd' if i == 0 else 'rd'}" for i, row in enumerate(ahead)}
    found = []
    for label, side in (("Base model", file.base), ("Real against real", file.real)):
        if any(side.scores.get(key) is not None for key in keys):
            found.append(Row(label, "", "reference", (Cell("–"), *cells(side.scores, {}))))
    for one in file.checkpoints:
        own = cells(one.scores, one.errors)
        best = [tops[key] is not None and one.scores.get(key) == tops[key] for key in keys]
        marked = [Cell(c.text, c.error, top) for c, top in zip(own, best, strict=True)]
        merit = _cell(one.merit, one.merit_error, 2, _merit_unit(file))
        is_best = one.path == file.best
        badge = "best" if is_best else places.get(one.path, "")
        kind = "best" if is_best else ""
        found.append(Row(one.label, badge, kind, (merit, *marked)))
    return found


def _top(file: ScoreFile, key: str) -> float | None:
    """Returns the best value that any of several checkpoints has; None where none is better."""
    values = [one.scores.get(key) for one in file.checkpoints]
    known = [value for value in values if value is not None]
    better = file.measures[key].better
    if better == "none" or len(set(known)) < 2:
        return None
    return max(known) if better == "high" else min(known)


def _digits(file: ScoreFile, key: str) -> int:
    """Returns decimals (0 to 5) that show two digits of the largest number, one of the spread."""
    values = [one.scores.get(key) for one in (file.base, file.real, *file.checkpoints)]
    known = [value for value in values if value is not None]
    largest = max(map(abs, known))
    tried = [value for one in file.checkpoints if (value := one.scores.get(key)) is not None]
    spread = max(tried) - min(tried) if tried else 0.0
    sizes = ((largest, 1), (spread, 0))
    needed = [more - math.floor(math.log10(size)) for size, more in sizes if size > 0]
    least = 2 if largest < 2 else 0  # most measures lie between 0 and 1
    return min(5, max([least, *needed]))


def _cell(value: float | None, error: float | None, digits: int, unit: str) -> Cell:
    if value is None:
        return Cell("–")
    if unit == "share":
        about = f"±{100 * error:.0f}" if error is not None else ""
        return Cell(facts.percent(value), about)
    return Cell(_written(value, digits), f"±{_written(error, digits)}" if error is not None else "")


def _written(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if abs(value) < 1e9 else f"{value:.1e}"


def _charts(file: ScoreFile, best: CheckpointScores | None) -> list[Chart]:
    found = []
    for key in CHARTED:
        if key not in file.measures:
            continue
        measure = file.measures[key]
        measured = [
            (one.step, value, one.errors.get(key))
            for one in file.checkpoints
            if one.step is not None and (value := one.scores.get(key)) is not None
        ]
        points = [(step, value) for step, value, _ in measured]
        errors = [error for _, _, error in measured if error is not None]
        levels = [
            (name, value)
            for name, side in (("base model", file.base), ("real against real", file.real))
            if (value := side.scores.get(key)) is not None
        ]
        drawn = chart(
            measure.title,
            [Curve("checkpoints", "main", points, dots=True, errors=errors)],
            from_zero=False,
            levels=levels,
            marked=best.step if best else None,
            note=ARROWS[measure.better][1],
        )
        if drawn:
            found.append(drawn)
    return found
