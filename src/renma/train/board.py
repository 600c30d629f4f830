"""TensorBoard curves, with kohya's tag names; passes every event on."""

from __future__ import annotations

import io
import os
import socket
import time
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from renma.core.events import Report


class Board:
    """Writes ``step``, ``validated`` and ``judged`` events as scalars.

    TensorBoard's own writer hands records to a thread that dies of a full disk and takes the run
    along; here they are written at once. What cannot be written is told once, and the run goes on.

    Args:
        folder: TensorBoard's folder.
        step: first step; on resume, later points of a killed run are dropped.
        then: the report behind.
    """

    def __init__(self, folder: Path, step: int, then: Report) -> None:
        # generated modules, whose names no type checker sees
        events: Any = import_module("tensorboard.compat.proto.event_pb2")
        summaries: Any = import_module("tensorboard.compat.proto.summary_pb2")
        self._event, self._summary, self._then = events.Event, summaries.Summary, then
        name = f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}.{os.getpid()}"
        self._path, self._told, self._file = folder / name, False, None
        start = events.SessionLog(status=events.SessionLog.START)
        self._write(
            events.Event(wall_time=time.time(), file_version="brain.Event:2"),
            events.Event(wall_time=time.time(), step=step + 1, session_log=start),
        )

    def event(self, kind: str, **data: Any) -> None:
        """Writes what can be drawn and passes the event on."""
        if kind == "step" and data["loss"] is not None:
            rates = {f"lr/{part}": rate for part, rate in data["lr"].items()}
            curves = {
                "loss/current": data["loss"],
                "loss/average": data["loss_average"],
                "norm/grad": data["grad_norm"],
            }
            self._scalars(data["step"], curves | rates)
        if kind == "validated":
            self._scalars(data["step"], {"loss/validation/epoch_average": data["loss"]})
        if kind == "judged":
            self._scalars(data["step"], {"judge/merit": data["merit"]})
        self._then.event(kind, **data)

    def line(self, text: str) -> None:
        """Passes the line on."""
        self._then.line(text)

    def close(self) -> None:
        """Closes the file."""
        if self._file:
            self._file.close()

    def _scalars(self, step: int, values: Mapping[str, Any]) -> None:
        rows = [self._summary.Value(tag=tag, simple_value=float(v)) for tag, v in values.items()]
        summary = self._summary(value=rows)
        self._write(self._event(wall_time=time.time(), step=step, summary=summary))

    def _write(self, *events: Any) -> None:
        """Appends records, all or none of them: half a record would hide all that follow."""
        from tensorboard.summary.writer.record_writer import RecordWriter

        data = io.BytesIO()
        for event in events:
            RecordWriter(data).write(event.SerializeToString())
        try:
            if self._file is None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._file = self._path.open("ab", buffering=0)
            before, rest = self._file.seek(0, os.SEEK_END), memoryview(data.getvalue())
            try:
                while rest:
                    rest = rest[self._file.write(rest) or 0 :]
            except OSError:
                self._file.truncate(before)
                raise
        except OSError as error:
            if not self._told:
                self._told = True
                text = f"{self._path.parent}: curves cannot be written ({error.strerror}); going on"
                self._then.event("warned", text=text)
