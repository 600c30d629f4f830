"""The plan of settings that are being filled in: facts, learning rates, and what is wrong where."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from renma import schedules
from renma.config.mistakes import translated
from renma.config.optimizer import Adafactor
from renma.config.precision import resolved
from renma.config.presets import laid_under
from renma.config.run import Run
from renma.core.errors import UserError
from renma.studio.settings_schema import keys
from renma.train.check import table
from renma.train.erase_settings import settled
from renma.train.plan import Plan, prepare

_LOOKED = 2000
"""Steps at which a learning rate is looked up."""
_FLAT = 1e-9
"""Bend, as a share of the highest rate, below which a point says nothing that its neighbours do
not."""


@dataclass
class Checked:
    """What is known about settings.

    Attributes:
        messages: level, key and text each.
        plan: as facts, where the settings make sense.
        lines: the same for people, as `renma check` prints it.
        rates: the learning rate of each trained part by step.
    """

    messages: list[dict[str, str]] = field(default_factory=list)
    plan: dict[str, Any] | None = None
    lines: list[str] = field(default_factory=list)
    rates: list[dict[str, Any]] = field(default_factory=list)

    def tell(self, level: str, key: str, text: str) -> None:
        """Notes something about an option, or about all of them."""
        row = {"level": level, "key": key, "text": text}
        if row not in self.messages:
            self.messages.append(row)

    @property
    def wrong(self) -> str:
        """The first mistake, if there is one."""
        return next((row["text"] for row in self.messages if row["level"] == "error"), "")


def checked(values: Mapping[str, Any], project: Path) -> Checked:
    """Returns the plan of settings, or all that is wrong with them.

    Args:
        values: of run.toml, with paths as on disk.
        project: the folder that relative paths start from.
    """
    found = Checked()
    try:
        raw = laid_under(dict(values), "run.toml")
        run = _run(raw, found)
        if run is None:
            return found
        run = run.model_copy(update={"train": resolved(run.train)})
        run = settled(run, dict(values), project)
        prepared = prepare(run, project)
    except UserError as error:
        found.tell("error", key_of(error), _without_folder(error.line(), project))
        return found
    _facts(found, run, prepared.plan)
    return found


def _run(raw: dict[str, Any], found: Checked) -> Run | None:
    """Returns the run; every mistake that the schema finds is noted at its key."""
    try:
        return Run.model_validate(raw)
    except ValidationError as error:
        for row in error.errors():
            place: list[Any] = []

            def kept(path: list[Any], into: list[Any] = place) -> str:
                into[:] = path
                return ""

            mistake = translated([row], Run, raw, kept)
            key = ".".join(part for part in place if isinstance(part, str))
            text = UserError(mistake.what, remedy=mistake.remedy).line()
            found.tell("error", key, text)
        return None


def key_of(error: UserError) -> str:
    """Returns the option that a mistake is about, or an empty text."""
    known = keys()
    for text in (str(error.where or ""), error.what):
        for word in text.replace("'", " ").replace(",", " ").split():
            if (name := word.strip(":.()`")) in known:
                return name
    return ""


def _facts(found: Checked, run: Run, plan: Plan) -> None:
    found.plan = json.loads(json.dumps(plan.as_dict(), default=str))
    found.lines = table(plan)
    for each in plan.findings:
        found.tell(each.level, each.where, each.line())
    told = {row["text"] for row in found.messages}
    for level, texts in (("warning", plan.warnings), ("note", plan.notes)):
        for text in texts:
            if text not in told:
                found.tell(level, "", text)
    if plan.steps:
        found.rates = rates(run, plan.steps, plan.rates)


def rates(run: Run, steps: int, groups: Mapping[str, float]) -> list[dict[str, Any]]:
    """Returns the learning rate of each part by step, parts with the same one together.

    Args:
        run: the run.
        steps: its optimizer steps.
        groups: part to full learning rate.
    """
    together: dict[float, list[str]] = {}
    own = isinstance(run.optimizer, Adafactor) and run.optimizer.relative_step
    for name, rate in groups.items():
        together.setdefault(0.0 if own else rate, []).append(name)
    looked = _spread(steps)
    found = []
    for rate, names in together.items():
        if isinstance(run.optimizer, Adafactor) and own:
            points = [(s + 1, run.optimizer.relative_rate(s + 1)) for s in looked]
        else:
            factor = schedules.of_run(run, steps, rate)
            points = [(s + 1, rate * factor(s)) for s in looked]
        found.append({"name": ", ".join(names), "points": bent(points)})
    return found


def _spread(steps: int) -> Sequence[int]:
    if steps <= _LOOKED:
        return range(steps)
    return [place * (steps - 1) // (_LOOKED - 1) for place in range(_LOOKED)]


def bent(points: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """Returns the points of a curve without those that lie on the line between their neighbours."""
    most = max((abs(y) for _, y in points), default=0.0) or 1.0
    kept = list(points[:1])
    for here, after in pairwise(points[1:]):
        (x0, y0), (x1, y1), (x2, y2) = kept[-1], here, after
        if abs(y0 + (y2 - y0) * (x1 - x0) / (x2 - x0) - y1) > _FLAT * most:
            kept.append(here)
    return [*kept, *points[1:][-1:]]


def _without_folder(text: str, project: Path) -> str:
    """Returns a message without the place of the workspace on this machine."""
    return text.replace(f"{project}/", "").replace(str(project), ".")
