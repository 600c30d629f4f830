"""One job: a task with its options, and what its folder says about it.

``job.json`` is what was asked for, ``started.json`` and ``ended.json`` are written by the job's own
process, which holds ``lock`` as long as it lives. The system frees a lock however a process ends,
so a job that has begun, has no end and holds no lock has died; nobody has to remember anything.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from renma.core.errors import DONE, INTERRUPTED, TERMINATED, USER_MISTAKE
from renma.core.store import write_text
from renma.studio.held import held

State = Literal["queued", "running", "done", "stopped", "failed", "died", "cancelled"]


@dataclass(frozen=True)
class Job:
    """What was asked for.

    Attributes:
        folder: of the job; its name is the job's id.
        task: name of the task, such as ``prepare face``.
        options: of the task, as JSON.
        title: for people.
        order: jobs are begun in this order.
        about: the folder that it works on, seen from the workspace.
    """

    folder: Path
    task: str
    options: dict[str, Any]
    title: str
    order: float
    about: str = ""
    links: dict[str, str] = field(default_factory=dict)
    """What it makes, seen from the workspace: ``run``, ``out``."""

    @property
    def id(self) -> str:
        """The name of its folder."""
        return self.folder.name

    @property
    def log(self) -> Path:
        """All that it printed."""
        return self.folder / "log.txt"

    @property
    def events(self) -> Path:
        """What happened, a JSON line each."""
        return self.folder / "events.jsonl"

    @classmethod
    def read(cls, folder: Path) -> Job | None:
        """Returns the job of a folder, or None if there is none that can be read."""
        held = _json(folder / "job.json")
        names = ("task", "options", "title", "order")
        if held is None or any(name not in held for name in names):
            return None
        known = {name: held[name] for name in (*names, "about", "links") if name in held}
        return cls(folder, **known)

    def write(self) -> None:
        """Writes what was asked for."""
        row = {name: value for name, value in asdict(self).items() if name != "folder"}
        self.folder.mkdir(parents=True, exist_ok=True)
        write_text(self.folder / "job.json", json.dumps(row, ensure_ascii=False, indent=1))

    def alive(self) -> bool:
        """Says whether its process lives."""
        return held(self.folder / "lock")

    def started(self) -> dict[str, Any] | None:
        """Returns the process and when it began, if it did."""
        return _json(self.folder / "started.json")

    def ended(self) -> dict[str, Any] | None:
        """Returns the exit code and when it ended, if it did so by itself."""
        return _json(self.folder / "ended.json")

    def state(self) -> State:
        """Returns how it stands, from its folder alone."""
        ended = self.ended()
        if ended is not None:
            return _STATES.get(ended.get("code"), "failed")
        if (self.folder / "cancelled").exists():
            return "cancelled"
        if self.started() is None:
            return "queued"
        return "running" if self.alive() else "died"

    def last_lines(self, count: int = 20) -> list[str]:
        """Returns the end of what it printed."""
        try:
            with self.log.open("rb") as file:
                file.seek(0, 2)
                file.seek(max(0, file.tell() - 64 * 1024))
                text = file.read().decode("utf-8", "replace")
        except OSError:
            return []
        return text.splitlines()[-count:]


_STATES: dict[Any, State] = {
    DONE: "done",
    INTERRUPTED: "stopped",
    TERMINATED: "stopped",
    USER_MISTAKE: "failed",
}


def _json(path: Path) -> dict[str, Any] | None:
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return held if isinstance(held, dict) else None
