"""Runs of the workspace, read from their folders: state, curves, previews, files."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from renma.studio.held import held
from renma.studio.place import OWN

RunState = Literal["training", "finished", "stopped", "died", "empty"]
_DEEP = 5
"""Folders below the workspace in which runs are looked for."""
FIRST = "copier"
"""The first stage of a copy-machine LoRA lies in a folder of that name, a run of its own."""
READ = (
    "run.toml", "events.jsonl", "score.json", "pictures.json", "report.html",
    f"{FIRST}/run.toml", f"{FIRST}/events.jsonl",
)  # fmt: skip
"""Files of a run that pages show; links among them lead nowhere else."""
_SKIPPED = {OWN, "cells", "samples", "state", "lora", "node_modules", "__pycache__"}


def find(root: Path) -> Iterator[Path]:
    """Yields the folders of runs below a folder, newest first.

    Links to folders are not followed, and a run with files that are links to elsewhere is none.
    """
    real = os.path.realpath(root)
    found: list[tuple[float, Path]] = []
    for place, folders, files in os.walk(root):
        path = Path(place)
        links = [path / name for name in READ if (path / name).is_symlink()]
        if any(not os.path.realpath(each).startswith(real + os.sep) for each in links):
            continue
        if "run.toml" in files and (events := events_of(path)) is not None:
            found.append((events.stat().st_mtime, path))
            folders[:] = [f for f in folders if f != FIRST]  # belongs to the run around it
        deep = len(path.relative_to(root).parts)
        keep = [f for f in folders if f not in _SKIPPED and not f.startswith(".")]
        folders[:] = keep if deep < _DEEP else []
    yield from (path for _, path in sorted(found, reverse=True))


def events_of(folder: Path) -> Path | None:
    """Returns the events of a run, or those of its first stage while that is all there is."""
    for path in (folder / "events.jsonl", folder / FIRST / "events.jsonl"):
        if path.is_file():
            return path
    return None


@dataclass
class Tail:
    """Reads what is appended to a file of events.

    Attributes:
        path: the file.
        offset: bytes read so far, up to the end of the last whole line.
    """

    path: Path
    offset: int = 0

    def rows(self) -> list[dict[str, Any]]:
        """Returns the events that came since the last call; a line half written comes later."""
        try:
            with self.path.open("rb") as file:
                if file.seek(0, os.SEEK_END) < self.offset:
                    self.offset = 0  # the run began anew
                file.seek(self.offset)
                data = file.read()
        except OSError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        self.offset += len(whole)
        found = []
        for line in whole.split(b"\n"):
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(row, dict):
                found.append(row)
        return found


@dataclass
class RunFacts:
    """What a run's events say, kept up to date.

    Attributes:
        path: of the run.
        tail: of its events.
        points: of the loss: step, loss, mean, rates, gradient, seconds.
        validated: step and held-out loss.
        previews: pictures with their steps.
        saved: LoRA files with their steps.
        warnings: lines.
        last: the newest event of each kind.
    """

    path: Path
    tail: Tail
    points: list[dict[str, Any]] = field(default_factory=list)
    validated: list[dict[str, Any]] = field(default_factory=list)
    previews: list[dict[str, Any]] = field(default_factory=list)
    saved: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    last: dict[str, dict[str, Any]] = field(default_factory=dict)
    newest: str = ""

    @classmethod
    def of(cls, path: Path) -> RunFacts:
        """Returns the facts of a run's folder as they are now."""
        facts = cls(path, Tail(path / "events.jsonl"))
        facts.read()
        return facts

    def read(self) -> list[dict[str, Any]]:
        """Takes in what is new, and returns it."""
        rows = self.tail.rows()
        for row in rows:
            self._take(row)
        return rows

    def _take(self, row: dict[str, Any]) -> None:
        kind = str(row.get("kind", ""))
        if not _plausible(kind, row):
            return
        self.last[kind] = row
        if kind == "step":
            # a resumed run goes back to its last state: what came after it is told again
            for told in (self.points, self.validated):
                while told and told[-1]["step"] >= row["step"]:
                    told.pop()
            names = ("step", "loss", "loss_average", "lr", "grad_norm", "seconds")
            self.points.append({name: row.get(name) for name in names})
        elif kind == "validated":
            self.validated.append({"step": row["step"], "loss": row.get("loss")})
        elif kind in ("sample", "saved"):
            into = self.previews if kind == "sample" else self.saved
            kept = [each for each in into if each.get("path") != row.get("path")]
            into[:] = [*kept, {k: v for k, v in row.items() if k not in ("kind", "time")}]
        elif kind == "warned":
            self.warnings.append(str(row.get("text", "")))
        if kind in ("started", "step", "interrupted", "finished"):
            self.newest = kind

    def first(self) -> RunFacts | None:
        """Returns the facts of the first of two stages, where the run has two."""
        path = self.path / FIRST
        return RunFacts.of(path) if (path / "events.jsonl").is_file() else None

    def state(self) -> RunState:
        """Returns how the run stands; what holds its lock lives."""
        if locked(self.path):
            return "training"
        ends: dict[str, RunState] = {"finished": "finished", "interrupted": "stopped"}
        if not self.newest and (first := self.first()) is not None:
            found = first.state()
            # its file is there, the second stage has not begun: it goes on from here
            return "stopped" if found == "finished" else found
        return ends.get(self.newest, "died" if self.newest else "empty")

    def brief(self) -> dict[str, Any]:
        """Returns what a list of runs shows."""
        step, started = self.last.get("step", {}), self.last.get("started", {})
        ended = self.last.get("finished", {})
        return {
            "state": self.state(),
            "step": step.get("step", started.get("step", 0)),
            "steps": step.get("steps", started.get("steps")),
            "loss": step.get("loss_average"),
            "eta": self._eta(),
            "memory_mib": ended.get("peak_memory_mib", step.get("memory_mib")),
            "preview": self.previews[-1]["path"] if self.previews else None,
            "changed": max((row.get("time", 0) for row in self.last.values()), default=0),
        }

    def _eta(self) -> float | None:
        """Returns seconds until the last step, by the middle of the last steps' times."""
        step = self.last.get("step", {})
        times = sorted(p["seconds"] for p in self.points[-50:] if p.get("seconds"))
        if not times or not step.get("steps"):
            return None
        return round((step["steps"] - step["step"]) * times[len(times) // 2], 1)


_NUMBERS = (
    "time",
    "step",
    "steps",
    "loss",
    "loss_average",
    "seconds",
    "memory_mib",
    "peak_memory_mib",
)
_NEEDED = {"step": ("step", int), "validated": ("step", int), "sample": ("path", str),
           "saved": ("path", str)}  # fmt: skip


def _plausible(kind: str, row: dict[str, Any]) -> bool:
    """Says whether an event is as trainers write it; others, of damaged files, are passed over."""
    name, wanted = _NEEDED.get(kind, ("kind", str))
    numbers = (row.get(each) for each in _NUMBERS)
    return isinstance(row.get(name), wanted) and all(
        each is None or (isinstance(each, int | float) and not isinstance(each, bool))
        for each in numbers
    )


def locked(folder: Path) -> bool:
    """Says whether a process works in a run's folder."""
    return held(folder / ".lock")
