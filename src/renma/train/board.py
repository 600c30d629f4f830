"""TensorBoard curves, with kohya's tag names; passes every event on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from renma.core.events import Report


class Board:
    """Writes ``step`` events as scalars.

    Args:
        folder: TensorBoard's folder.
        step: first step; on resume, later points of a killed run are dropped.
        then: the report behind.
    """

    def __init__(self, folder: Path, step: int, then: Report) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder), purge_step=step + 1)
        self._then = then

    def event(self, kind: str, **data: Any) -> None:
        """Writes what can be drawn and passes the event on."""
        if kind == "step" and data["loss"] is not None:
            step = data["step"]
            self._writer.add_scalar("loss/current", data["loss"], step)
            self._writer.add_scalar("loss/average", data["loss_average"], step)
            self._writer.add_scalar("norm/grad", data["grad_norm"], step)
            for part, rate in data["lr"].items():
                self._writer.add_scalar(f"lr/{part}", rate, step)
        if kind == "validated":
            self._writer.add_scalar("loss/validation/epoch_average", data["loss"], data["step"])
        self._then.event(kind, **data)

    def line(self, text: str) -> None:
        """Passes the line on."""
        self._then.line(text)

    def close(self) -> None:
        """Flushes and closes the files."""
        self._writer.close()
