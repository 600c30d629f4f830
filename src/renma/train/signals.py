"""Ctrl-C and SIGTERM: finish the step, save, leave."""

from __future__ import annotations

import signal
import threading
from types import FrameType

from renma.core.errors import INTERRUPTED, TERMINATED


class StopRequest:
    """Notes the first signal; a second Ctrl-C ends the process at once.

    Usable as a context manager; outside the main thread it listens to nothing.
    """

    def __init__(self) -> None:
        self.exit_code: int | None = None
        self._before: dict[int, object] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # pyright: ignore[reportArgumentType]

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if self.exit_code is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.exit_code = INTERRUPTED if number == signal.SIGINT else TERMINATED
