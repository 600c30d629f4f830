"""What a run says while it works: one JSON line an event, and a listener that shows it.

The file is the only channel between a run and those who watch it (terminal, studio, report).
"""

from __future__ import annotations

import io
import json
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from renma.core.errors import UserError


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


class Detached:
    """A report whose listener may go away (`| head`, a closed terminal): the work goes on.

    What cannot be shown is dropped; the next time it is tried again.

    Args:
        then: who listens.
    """

    def __init__(self, then: Report) -> None:
        self._then = then

    def event(self, kind: str, **data: Any) -> None:
        """Passes the event on if it can be shown."""
        with suppress(OSError):
            self._then.event(kind, **data)

    def line(self, text: str) -> None:
        """Passes the line on if it can be shown."""
        with suppress(OSError):
            self._then.line(text)


class EventLog:
    """Appends events to ``events.jsonl`` and passes each on to another report.

    A log that cannot be written ends no run: it is said once, the run goes on, and when writing
    works again the log itself tells how many events it lacks.

    Args:
        path: the file; an interrupted last line of an earlier run is closed first.
        then: a report that gets every event after it is on disk.
    """

    def __init__(self, path: Path, then: Report | None = None) -> None:
        self._file = _open(path)
        self._torn = _ends_in_the_middle(self._file)
        self._path, self._lost = path, 0
        self._then: Report = then or Silent()

    def event(self, kind: str, **data: Any) -> None:
        """Writes one line at once, so that a killed process has told all it did."""
        rows = [_row(kind, data)]
        if self._lost:
            text = f"{self._lost} events could not be written here"
            rows.insert(0, _row("warned", {"text": text}))
        try:
            self._write(b"".join(rows))
            self._lost = 0
        except (OSError, UserError) as error:
            self._lost += 1
            if self._lost == 1:
                reason = error.what if isinstance(error, UserError) else error.strerror
                text = f"{self._path}: events cannot be written ({reason}); going on"
                self._then.event("warned", text=text)
        self._then.event(kind, **data)

    def line(self, text: str) -> None:
        """Passes a line for people on; it is not an event."""
        self._then.line(text)

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _write(self, data: bytes) -> None:
        """Writes all of it; what a full disk cuts off becomes a line of its own, passed over."""
        if not os.fstat(self._file.fileno()).st_nlink:  # somebody removed the run's folder
            again = _open(self._path)
            self._file.close()
            self._file, self._torn = again, False
        rest = memoryview(b"\n" + data if self._torn else data)
        while rest:
            count = self._file.write(rest) or 0
            self._torn = True
            rest = rest[count:]
        self._torn = False


def _open(path: Path) -> io.FileIO:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("a+b", buffering=0)
    except OSError as error:
        raise UserError(f"cannot be written ({error.strerror})", where=path) from error


def _row(kind: str, data: dict[str, Any]) -> bytes:
    row = {"time": round(time.time(), 3), "kind": kind, **data}
    # file names may hold bytes that are no text; they are written as escapes
    return (json.dumps(row, ensure_ascii=False) + "\n").encode(errors="backslashreplace")


def _ends_in_the_middle(file: io.FileIO) -> bool:
    size = file.seek(0, os.SEEK_END)
    if not size:
        return False
    file.seek(size - 1)
    return file.read(1) != b"\n"


def read_events(path: Path) -> Iterator[dict[str, Any]]:
    """Yields the events of a file in order; a line torn by a kill, or no JSON, is passed over."""
    # not splitlines(): captions and prompts may hold other signs that end a line
    for text in path.read_text(encoding="utf-8", errors="replace").split("\n"):
        try:
            row = json.loads(text)
        except (ValueError, RecursionError):  # torn, endless digits, nested too deeply
            continue
        if isinstance(row, dict):
            yield row
