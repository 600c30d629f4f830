"""Runs of the workspace, read from their folders: state, curves, previews, files."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from renma.studio.place import OWN

RunState = Literal["training", "finished", "stopped", "died", "empty"]
_DEEP = 5
"""Folders below the workspace in which runs are looked for."""
_SKIPPED = {OWN, "cells", "samples", "state", "lora", "node_modules", "__pycache__"}


def find(root: Path) -> Iterator[Path]:
    """Yields the folders of runs below a folder, newest first.

    Links to folders are not followed.
    """
    found: list[tuple[float, Path]] = []
    for place, folders, files in os.walk(root):
        path = Path(place)
        if "events.jsonl" in files and "run.toml" in files:
            found.append(((path / "events.jsonl").stat().st_mtime, path))
        deep = len(path.relative_to(root).parts)
        keep = [f for f in folders if f not in _SKIPPED and not f.startswith(".")]
        folders[:] = keep if deep < _DEEP else []
    yield from (path for _, path in sorted(found, reverse=True))


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
        self.last[kind] = row
        if kind == "step":
            # a resumed run goes back to its last state: what came after it is told again
            while self.points and self.points[-1]["step"] >= row.get("step", 0):
                self.points.pop()
            names = ("step", "loss", "loss_average", "lr", "grad_norm", "seconds")
            self.points.append({name: row.get(name) for name in names})
        elif kind == "validated":
            self.validated.append({"step": row.get("step"), "loss": row.get("loss")})
        elif kind in ("sample", "saved"):
            into = self.previews if kind == "sample" else self.saved
            kept = [each for each in into if each.get("path") != row.get("path")]
            into[:] = [*kept, {k: v for k, v in row.items() if k not in ("kind", "time")}]
        elif kind == "warned":
            self.warnings.append(str(row.get("text", "")))
        if kind in ("started", "step", "interrupted", "finished"):
            self.newest = kind

    def state(self) -> RunState:
        """Returns how the run stands; what holds its lock lives."""
        if locked(self.path):
            return "training"
        ends: dict[str, RunState] = {"finished": "finished", "interrupted": "stopped"}
        return ends.get(self.newest, "died" if self.newest else "empty")

    def brief(self) -> dict[str, Any]:
        """Returns what a list of runs shows."""
        step, started = self.last.get("step", {}), self.last.get("started", {})
        return {
            "state": self.state(),
            "step": step.get("step", started.get("step", 0)),
            "steps": step.get("steps", started.get("steps")),
            "loss": step.get("loss_average"),
            "eta": self._eta(),
            "memory_mib": self.last.get("finished", {}).get("peak_memory_mib"),
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


def locked(folder: Path) -> bool:
    """Says whether a process works in a run's folder."""
    path = folder / ".lock"
    if not path.exists():
        return False
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except (Timeout, OSError):
        return True
    lock.release()
    return False
