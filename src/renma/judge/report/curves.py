"""What ``events.jsonl`` measured, as charts: losses, learning rates, norms (no torch)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from renma.judge.folder import Event, RunRecord
from renma.judge.numbers import is_number, is_step
from renma.judge.report import facts
from renma.judge.report.chart import Chart, Curve, Points, chart, smoothed

MOST_RATES = 40
"""Parts whose learning rates are drawn."""
_STYLES = ("main", "second", "third")


def charts(folder: RunRecord) -> list[Chart]:
    """Returns the charts that a run has numbers for."""
    steps, measured = _by_step(folder, "step"), _by_step(folder, "validated")
    loss, norm = _curve(steps, _of("loss")), _curve(steps, _of("grad_norm"))
    held_out = Curve("held out", "second", _curve(measured, _of("loss")), dots=len(measured) <= 40)
    limit = "max_norm"
    found = [
        chart("Loss", [*_raw_and_smoothed(loss), held_out], from_zero=False),
        _rates(steps),
        chart("Gradient norm", _raw_and_smoothed(norm), from_zero=True),
        chart(
            "Norms of the layers, before they were shortened",
            [
                Curve("largest", "main", _curve(steps, _of(limit, "largest"))),
                Curve("mean", "second", _curve(steps, _of(limit, "mean"))),
            ],
            from_zero=True,
        ),
    ]
    return [one for one in found if one]


def _by_step(folder: RunRecord, kind: str) -> list[Event]:
    # a resumed run repeats steps: the last telling of a step is the one that was trained on
    by_step = {e["step"]: e for e in folder.all(kind) if is_step(e.get("step"))}
    return [by_step[step] for step in sorted(by_step)]


def _raw_and_smoothed(points: Points) -> list[Curve]:
    return [Curve("each step", "faint", points), Curve("smoothed", "main", smoothed(points))]


def _rates(steps: Sequence[Event]) -> Chart | None:
    parts = dict.fromkeys(part for event in steps for part in _table(event, "lr"))
    curves = [
        Curve(facts.cut(part.replace("_", " "), 80), _STYLES[i % 3], _curve(steps, _of("lr", part)))
        for i, part in enumerate(list(parts)[:MOST_RATES])
    ]
    rest = len(parts) - len(curves)
    note = f"and {rest} more in events.jsonl" if rest else ""
    return chart("Learning rate", curves, from_zero=True, note=note)


def _of(*keys: str) -> Callable[[Event], Any]:
    def value(event: Event) -> Any:
        *tables, last = keys
        found: Mapping[str, Any] = event
        for key in tables:
            found = _table(found, key)
        return found.get(last)

    return value


def _table(row: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = row.get(key)
    return found if isinstance(found, dict) else {}


def _curve(steps: Sequence[Event], value: Callable[[Event], Any]) -> list[tuple[float, float]]:
    pairs = ((event["step"], value(event)) for event in steps)
    return [(step, found) for step, found in pairs if is_number(found)]
