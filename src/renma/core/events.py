"""What a run says while it works: one JSON line an event, and a listener that shows it.

The file is the only channel between a run and those who watch it (terminal, studio, report).
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol


class Report(Protocol):
    """Receives what a task has to say; the command line shows it, the studio stores it."""

    def event(self, kind: str, **data: Any) -> None:
        """Takes one event: started, step, sample, saved, warned, finished, ..."""
        ...

    def line(self, text: str) -> None:
        """Takes one line meant for a person."""
        ...


class Silent:
    """A report nobody listens to (tests, library use)."""

    def event(self, kind: str, **data: Any) -> None:
        """Drops the event."""

    def line(self, text: str) -> None:
        """Drops the line."""


class EventLog:
    """Appends events to ``events.jsonl`` and passes each on to another report.

    Args:
        path: the file; an interrupted last line of an earlier run is closed first.
        then: a report that gets every event after it is on disk.
    """

    def __init__(self, path: Path, then: Report | None = None) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        torn = path.exists() and not path.read_bytes().endswith(b"\n") and path.stat().st_size > 0
        # file names may hold bytes that are no text; they are written as escapes
        self._file = path.open("a", encoding="utf-8", errors="backslashreplace")
        if torn:
            self._file.write("\n")
        self._then: Report = then or Silent()

    def event(self, kind: str, **data: Any) -> None:
        """Writes one line and flushes it, so that a killed process has told all it did."""
        row = {"time": round(time.time(), 3), "kind": kind, **data}
        self._file.write(json.dumps(row, ensure_ascii=False) + "\n")
        self._file.flush()
        self._then.event(kind, **data)

    def line(self, text: str) -> None:
        """Passes a line for people on; it is not an event."""
        self._then.line(text)

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def read_events(path: Path) -> Iterator[dict[str, Any]]:
    """Yields the events of a file in order; a line torn by a kill is passed over."""
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(text)
        except json.JSONDecodeError:
            continue
        if isinstance(row, dict):
            yield row
