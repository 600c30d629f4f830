"""What a resumed run says before it is known whether it may go on: held back, then told or not."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from renma.core.events import Report


class Held:
    """A report that keeps everything to itself until the run is accepted.

    A resume can be refused after minutes of reading pictures and weights. Until then the run's
    events must not grow, and nobody may be told of a run that goes on. Progress alone is shown.

    Args:
        then: told everything once the run is accepted, and from then on at once.
        live: shown how far reading has got.
        accepted: done first when the run is accepted.
    """

    def __init__(self, then: Report, live: Report, accepted: Callable[[], None]) -> None:
        self._then, self._live, self._accepted = then, live, accepted
        self._waiting: list[Callable[[], None]] | None = []

    def event(self, kind: str, **data: Any) -> None:
        """Passes an event on, or keeps it."""
        if self._waiting is None:
            self._then.event(kind, **data)
        elif kind == "caching":
            self._live.event(kind, **data)
        else:
            self._waiting.append(partial(self._then.event, kind, **data))

    def line(self, text: str) -> None:
        """Passes a line on, or keeps it."""
        if self._waiting is None:
            self._then.line(text)
        else:
            self._waiting.append(partial(self._then.line, text))

    def accept(self) -> None:
        """Tells everything that was kept; a second time changes nothing."""
        if self._waiting is None:
            return
        waiting, self._waiting = self._waiting, None
        self._accepted()
        for tell in waiting:
            tell()
