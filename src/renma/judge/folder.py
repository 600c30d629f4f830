"""What a training run left behind: settings, events and checkpoints of one folder (no torch)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from renma.config import Run, load_run
from renma.core.errors import UserError
from renma.core.events import read_events
from renma.core.run_folder import find_run
from renma.judge.numbers import is_step

Event = dict[str, Any]


@dataclass(frozen=True)
class Checkpoint:
    """One LoRA file of a run."""

    path: Path
    step: int | None
    """Optimizer steps it was trained for; unknown when the run's events are gone."""
    label: str
    """Such as ``step 40``, ``epoch 2`` or ``last (step 120)``."""


@dataclass(frozen=True)
class RunRecord:
    """A run's folder, read once."""

    path: Path
    run: Run
    events: tuple[Event, ...]

    @classmethod
    def open(cls, path: Path) -> RunRecord:
        """Reads ``run.toml`` and ``events.jsonl`` (which may be missing).

        Args:
            path: a run's folder, its run.toml, or a folder with one run inside, such as a
                project's.

        Raises:
            UserError: there is no run or more than one, or its settings are invalid.
        """
        return cls.at(find_run(path))

    @classmethod
    def at(cls, folder: Path) -> RunRecord:
        """Reads a run's own folder, in which nothing needs to be trained yet.

        Raises:
            UserError: its settings are invalid.
        """
        log = folder / "events.jsonl"
        events = tuple(read_events(log)) if log.is_file() else ()
        return cls(folder, load_run(folder / "run.toml"), events)

    def all(self, kind: str) -> list[Event]:
        """Returns the events of one kind in order."""
        return [event for event in self.events if event.get("kind") == kind]

    def last(self, kind: str) -> Event:
        """Returns the newest event of one kind, or an empty one."""
        found = self.all(kind)
        return found[-1] if found else {}

    def inside(self, relative: object) -> Path | None:
        """Returns a file named in an event, if it exists and lies in this folder."""
        if not isinstance(relative, str) or not relative:
            return None
        path = self.path / relative
        try:
            within = path.resolve().is_relative_to(self.path.resolve())
            return path if within and path.is_file() else None
        except (OSError, ValueError):  # too long, or a sign that no name has
            return None

    def checkpoints(self) -> list[Checkpoint]:
        """Returns the run's LoRA files from the least to the most trained.

        Two files of the same step hold the same weights; only the later written one is listed.
        """
        steps = {
            path.resolve(): step
            for event in self.all("saved")
            if (path := self.inside(event.get("path"))) and is_step(step := event.get("step"))
        }
        end = self.last("finished").get("steps")
        found: dict[object, tuple[tuple[float, int], Checkpoint]] = {}
        for path in sorted((self.path / "lora").glob("*.safetensors")):
            match = _NUMBER.fullmatch(path.stem.removeprefix(self.run.output.name))
            if not path.stem.startswith(self.run.output.name) or not match:
                continue
            step = steps.get(path.resolve())
            if step is None and not match["kind"] and is_step(end):
                step = end
            one = Checkpoint(path, step, _label(match, step))
            found_key: object = path if step is None else step
            order = (_order(match, step), len(found))
            if found_key not in found or not match["kind"]:
                found[found_key] = (order, one)
        return [one for _, one in sorted(found.values(), key=lambda pair: pair[0])]

    def need_checkpoints(self) -> list[Checkpoint]:
        """Returns the checkpoints.

        Raises:
            UserError: there are none.
        """
        found = self.checkpoints()
        if not found:
            name = f"{self.run.output.name}*.safetensors"
            raise UserError(
                f"holds no {name}", where=self.path / "lora", remedy="Train first: `renma train`."
            )
        return found


_NUMBER = re.compile(r"(?:(?P<kind>-step|-)(?P<number>\d+))?")


def _label(match: re.Match[str], step: int | None) -> str:
    if not match["kind"]:
        return "last" if step is None else f"last (step {step})"
    number = int(match["number"])
    if match["kind"] == "-step":
        return f"step {number}"
    return f"epoch {number}" if step is None else f"epoch {number} (step {step})"


def _order(match: re.Match[str], step: int | None) -> float:
    if step is not None:
        return step
    return int(match["number"]) if match["kind"] else float("inf")
