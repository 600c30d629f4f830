"""One HTML file that tells everything about a run: no script, no outside link, safe to send.

All text of captions, prompts, metadata and settings comes from outside and is escaped by the
template engine; a content security policy in the page forbids everything but its own pictures.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from renma.config.run_tasks import ReportOptions
from renma.core.errors import UserError
from renma.core.events import Report
from renma.core.store import write_text
from renma.judge import facts
from renma.judge.chart import Chart, chart, smoothed
from renma.judge.contact import contact_sheet
from renma.judge.folder import Event, RunRecord
from renma.judge.inline import Picture, from_file
from renma.judge.settings import differences

HERO = 6
"""Newest previews at the head of the page."""
MOST_STEPS = 8
"""Columns of the preview table; of more, evenly spaced ones, the first and the last."""


@dataclass(frozen=True)
class PreviewRow:
    """One preview prompt over the steps."""

    prompt: str
    pictures: tuple[Picture | None, ...]


def run(options: ReportOptions, report: Report) -> None:
    """Writes ``report.html`` into a run's folder.

    Raises:
        UserError: no run's folder, or a score.json that is none.
    """
    report.line(f"report: {write_report(options.folder)}")


def write_report(folder: Path) -> Path:
    """Writes ``report.html`` into the run's folder and returns its path.

    What a run lacks is left out or said.

    Raises:
        UserError: no run's folder, or a score.json that is none.
    """
    record = RunRecord.open(folder)
    target = record.path / "report.html"
    write_text(target, render(record))
    return target


def render(folder: RunRecord) -> str:
    """Returns the page."""
    environment = Environment(
        loader=PackageLoader("renma.judge", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": facts.percent,
        "duration": facts.duration,
        "share": _share,
    }
    return environment.get_template("report.html.jinja").render(_context(folder))


def _context(folder: RunRecord) -> dict[str, Any]:
    run, started = folder.run, folder.last("started")
    steps, table = _previews(folder)
    kinds, lost = contact_sheet(folder)
    files = facts.files(folder)
    return {
        "title": run.output.title or run.output.name,
        "about": _about(folder),
        "finished": folder.last("finished"),
        "hero": [row.pictures[-1] for row in table if row.pictures[-1]][:HERO],
        "score": _score(folder.path),
        "grid": _sheet(folder.path / "grid.png"),
        "grid_prompts": _grid_prompts(folder.path / "grid.png"),
        "evidence": _sheet(folder.path / "score.png"),
        "charts": _charts(folder),
        "preview_steps": steps,
        "previews": table,
        "kinds": kinds,
        "pictures_lost": facts.without_home(lost),
        "plan": facts.plan_rows(started.get("plan") or {}),
        "warnings": _warnings(folder),
        "differences": [_private(d) for d in differences(run)],
        "toml": facts.without_home((folder.path / "run.toml").read_text(encoding="utf-8-sig")),
        "files": files,
        "metadata": facts.file_metadata(folder.path / files[0].name) if files else [],
        "versions": facts.versions(started),
    }


def _about(folder: RunRecord) -> list[str]:
    run, end = folder.run, folder.last("finished")
    model = "mame" if run.model.path == "mame" else Path(run.model.path).name
    words = [f"base model {model}"]
    words.append(run.adapter.words)
    if run.output.trigger:
        words.append(f"trigger {run.output.trigger}")
    done = end.get("steps") or folder.last("step").get("step")
    if done:
        words.append(f"{done} steps")
    if isinstance(end.get("time"), int | float):
        day = datetime.datetime.fromtimestamp(end["time"], datetime.UTC)
        words.append(f"{day:%Y-%m-%d}")
    return words


def _warnings(folder: RunRecord) -> list[str]:
    texts = dict.fromkeys(str(event.get("text", "")) for event in folder.all("warned"))
    return [facts.without_home(text) for text in texts]


def _score(folder: Path) -> dict[str, Any] | None:
    path = folder / "score.json"
    if not path.is_file():
        return None
    try:
        score = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(
            f"cannot be read: {reason}", where=path, remedy="Make it anew with `renma judge`."
        ) from None
    keys = ("likeness", "leakage", "base_likeness", "base_leakage", "best")
    empty = dict.fromkeys(keys) | {"verdict": [], "checkpoints": [], "attributes": {}}
    return empty | score


def _sheet(path: Path) -> Picture | None:
    return from_file(path, 2400, quality=86) if path.is_file() else None


def _grid_prompts(path: Path) -> list[dict[str, str]]:
    """Returns the prompts that the grid's PNG names; an older or foreign picture names none."""
    if not path.is_file():
        return []
    try:
        with Image.open(path) as picture:
            rows = json.loads(picture.info.get("renma", "{}")).get("prompts", [])
        return [{"kind": str(row["kind"]), "text": str(row["text"])} for row in rows]
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return []


def _charts(folder: RunRecord) -> list[Chart]:
    # a resumed run repeats steps: the last telling of a step is the one that was trained on
    by_step = {e["step"]: e for e in folder.all("step") if isinstance(e.get("step"), int)}
    steps = [by_step[step] for step in sorted(by_step)]
    loss = _curve(steps, "loss")
    curves = [("each step", "faint", loss), ("smoothed", "main", smoothed(loss))]
    measured = {e["step"]: e for e in folder.all("validated") if isinstance(e.get("step"), int)}
    curves.append(("held out", "second", _curve([measured[s] for s in sorted(measured)], "loss")))
    found = [chart("Loss", curves, from_zero=False), _rate_chart(steps)]
    return [one for one in found if one]


def _rate_chart(steps: Sequence[Event]) -> Chart | None:
    parts = list(dict.fromkeys(part for e in steps for part in _rates(e)))
    styles = ("main", "second", "third")
    curves = [
        (
            part.replace("_", " "),
            styles[i % 3],
            [(e["step"], _rates(e)[part]) for e in steps if part in _rates(e)],
        )
        for i, part in enumerate(parts)
    ]
    return chart("Learning rate", curves, from_zero=True)


def _rates(event: Event) -> dict[str, float]:
    rates = event.get("lr")
    return rates if isinstance(rates, dict) else {}


def _curve(steps: Sequence[Event], key: str) -> list[tuple[float, float]]:
    return [(e["step"], e[key]) for e in steps if isinstance(e.get(key), int | float)]


def _previews(folder: RunRecord) -> tuple[list[int], list[PreviewRow]]:
    """Returns the steps shown and one row a prompt."""
    found: dict[int, dict[int, Event]] = {}
    for event in folder.all("sample"):
        step, index = event.get("step"), event.get("index", 0)
        if isinstance(step, int) and isinstance(index, int) and folder.inside(event.get("path")):
            found.setdefault(index, {})[step] = event
    steps = sorted({step for row in found.values() for step in row})
    if len(steps) > MOST_STEPS:
        last = len(steps) - 1
        steps = [steps[round(i * last / (MOST_STEPS - 1))] for i in range(MOST_STEPS)]
    rows = [
        PreviewRow(
            str(next(iter(row.values())).get("prompt", "")),
            tuple(_preview(folder, row.get(step)) for step in steps),
        )
        for _, row in sorted(found.items())
    ]
    return steps, rows


def _preview(folder: RunRecord, event: Event | None) -> Picture | None:
    path = folder.inside(event.get("path")) if event else None
    return from_file(path, 256) if path else None


def _private(difference: Any) -> dict[str, str]:
    return {name: facts.without_home(value) for name, value in vars(difference).items()}


def _share(value: object) -> float:
    """Returns a share as percentage for a bar's width, 0 where there is none."""
    return round(100 * min(1.0, max(0.0, value)), 1) if isinstance(value, int | float) else 0.0
