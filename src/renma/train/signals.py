"""Signals: finish the step, save, leave; or save and go on."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from renma.core.errors import INTERRUPTED, TERMINATED

_HANGUP = getattr(signal, "SIGHUP", None)
"""The terminal was closed, or its connection broke; Windows has none."""
_SAVE = getattr(signal, "SIGUSR1", None)
"""Schedulers such as Slurm send it ahead of the end of a job; Windows has none."""


class StopRequest:
    """Notes signals while the loop runs; the loop acts between two steps.

    Ctrl-C (SIGINT), SIGTERM and a closed terminal (SIGHUP) ask for the end, SIGUSR1 for a state
    now. A second Ctrl-C ends the process at once; what was saved before is still whole.

    Usable as a context manager; outside the main thread it listens to nothing.

    Attributes:
        exit_code: 130 or 143 once the end was asked for, else None.
    """

    def __init__(self) -> None:
        self.exit_code: int | None = None
        self._save = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        listened = {signal.SIGINT: self._note, signal.SIGTERM: self._note, _SAVE: self._note_save}
        if _HANGUP and signal.getsignal(_HANGUP) is not signal.SIG_IGN:  # nohup: it goes on
            listened[_HANGUP] = self._note
        self._before = _listen(listened)
        return self

    def __exit__(self, *_: object) -> None:
        _restore(self._before)

    def take_save(self) -> bool:
        """Says whether a state was asked for since the last call."""
        asked, self._save = self._save, False
        return asked

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if self.exit_code is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.exit_code = INTERRUPTED if number == signal.SIGINT else TERMINATED

    def _note_save(self, _number: int, _frame: FrameType | None) -> None:
        self._save = True


@contextmanager
def before_the_loop() -> Iterator[None]:
    """Lets SIGTERM end what comes before and after the loop at once, with exit code 143.

    Nothing needs saving there: caches are written entry by entry, files whole or not at all.
    SIGUSR1, which would end the process, is passed over while there is no state to save.
    """

    def leave(_number: int, _frame: FrameType | None) -> None:
        raise SystemExit(TERMINATED)  # no Exception: libraries that catch those must not keep it

    before = _listen({signal.SIGTERM: leave, _SAVE: lambda _number, _frame: None})
    try:
        yield
    finally:
        _restore(before)


def _listen(handlers: dict[Any, Any]) -> dict[int, Any]:
    """Sets handlers and returns those before; in other threads than the main one, nothing."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    return {number: signal.signal(number, h) for number, h in handlers.items() if number}


def _restore(handlers: dict[int, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)
