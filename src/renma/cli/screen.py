"""What a person sees while a task works: a progress bar, or plain lines where there is no terminal.

Shown events: ``step`` (step, steps, epoch, epochs, loss, loss_average), ``caching`` and ``working``
(done, total, what), ``sampling`` (done, total), ``saved`` and ``sample`` (path), ``warned`` (text),
``finished``.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.text import Text

LINES = 20
"""How many progress lines a task of any length prints where there is no terminal."""
SECONDS = 1.0
"""At least so long apart."""


class Pace:
    """Speed of one counter since it was first seen; a resumed run starts in the middle.

    Args:
        clock: seconds from any moment on.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._first: tuple[float, int] | None = None

    def at(self, done: int, total: int) -> str:
        """Returns rate and remaining time, such as ``3.9/s, 1:02 left``; empty at first."""
        now = self._clock()
        if self._first is None:
            self._first = (now, done)
        seconds, steps = now - self._first[0], done - self._first[1]
        if seconds <= 0 or steps <= 0:
            return ""
        rate = steps / seconds
        speed = f"{rate:.1f}/s" if rate >= 1 else f"{1 / rate:.1f} s each"
        return f"{speed}, {duration((total - done) / rate)} left"


class _Pipe(Console):
    """A console whose reader may have enough (`head`): that is no failure."""

    def on_broken_pipe(self) -> None:
        """Leaves the answer to the command line; rich would exit with 1."""
        raise BrokenPipeError


class Screen:
    """A report for people.

    Args:
        console: where to write (default: standard output).
        clock: seconds, for speed and remaining time.
    """

    def __init__(
        self, console: Console | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._console = console or _Pipe(highlight=False)
        self._clock = clock
        self._paces: dict[str, Pace] = {}
        self._done: dict[str, int] = {}
        self._told: dict[str, float] = {}
        self._bars: dict[str, TaskID] = {}
        self._progress: Progress | None = None
        self._shown = {
            "step": self._step,
            "caching": self._caching,
            "working": self._working,
            "sampling": self._sampling,
            "saved": lambda data: self.line(f"saved {data['path']}"),
            "sample": lambda data: self.line(f"drew {data['path']}"),
            "validated": lambda data: self.line(f"held-out loss {data['loss']:.4f}"),
            "warned": lambda data: self._print(f"warning: {data['text']}", "yellow"),
            "finished": self._finished,
        }

    def __enter__(self) -> Self:
        """Starts with an empty screen."""
        return self

    def __exit__(self, *_: object) -> None:
        """Leaves the terminal as it was found."""
        self._stop()

    def event(self, kind: str, **data: Any) -> None:
        """Shows one event; kinds that are not for people are passed over."""
        if show := self._shown.get(kind):
            show(data)

    def line(self, text: str) -> None:
        """Prints one line, above the progress bars if there are any."""
        self._print(text, "")

    def _step(self, data: dict[str, Any]) -> None:
        loss = data["loss_average"] if data["loss_average"] is not None else data["loss"]
        facts = f"loss {'not finite' if loss is None else f'{loss:.4f}'}"
        facts += f", epoch {data['epoch']:g}/{math.ceil(data['epochs'])}"
        self._advance("step", data["step"], data["steps"], facts)

    def _caching(self, data: dict[str, Any]) -> None:
        self._advance(f"caching {data['what']}", data["done"], data["total"], "")

    def _working(self, data: dict[str, Any]) -> None:
        self._advance(f"working on {data['what']}", data["done"], data["total"], "")

    def _sampling(self, data: dict[str, Any]) -> None:
        self._advance("sampling", data["done"], data["total"], "")

    def _finished(self, data: dict[str, Any]) -> None:
        self._stop()
        time_taken = f" in {duration(data['seconds'])}" if "seconds" in data else ""
        self.line(f"finished{time_taken}" + (f": {data['path']}" if "path" in data else ""))

    def _advance(self, what: str, done: int, total: int, facts: str) -> None:
        if done <= self._done.get(what, 0) or what not in self._paces:  # it begins anew
            self._paces[what] = Pace(self._clock)
            self._told.pop(what, None)
        self._done[what] = done
        pace = self._paces[what].at(done, total)
        facts = ", ".join(part for part in (facts, pace) if part)
        if self._console.is_terminal:
            self._bar(what, done, total, facts)
        elif done == total or self._due(what, done, total):
            self._told[what] = self._clock()
            self.line(f"{what} {done}/{total}" + (f"  {facts}" if facts else ""))

    def _due(self, what: str, done: int, total: int) -> bool:
        """Says whether a line is due: few for a long task, fewer still for a quick one."""
        if what not in self._told:
            return True
        often = done % max(1, total // LINES) == 0
        return often and self._clock() - self._told[what] >= SECONDS

    def _bar(self, what: str, done: int, total: int, facts: str) -> None:
        progress = self._progress = self._progress or self._started()
        if what not in self._bars:
            self._bars[what] = progress.add_task(what, facts=facts)
        progress.update(self._bars[what], completed=done, total=total, facts=facts)
        if done >= total and what != "step":
            progress.remove_task(self._bars.pop(what))

    def _started(self) -> Progress:
        progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[facts]}"),
            console=self._console,
        )
        progress.start()
        return progress

    def _print(self, text: str, style: str) -> None:
        # soft wrap: a message stays one line for those who search or copy it
        self._console.print(Text(text, style=style), soft_wrap=True)

    def _stop(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
            self._bars.clear()


def duration(seconds: float) -> str:
    """Returns ``m:ss`` or ``h:mm:ss``."""
    whole = max(0, round(seconds))
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"
