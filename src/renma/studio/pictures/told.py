"""What a task says while the studio calls it, kept for the answer."""

from __future__ import annotations

from typing import Any


class Told:
    """A report that keeps what is said.

    Attributes:
        lines: for people.
        warnings: what is odd.
    """

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.warnings: list[str] = []

    def event(self, kind: str, **data: Any) -> None:
        """Keeps a warning; other events are nothing to a page that waits for the answer."""
        if kind == "warned":
            self.warnings.append(str(data.get("text", "")))

    def line(self, text: str) -> None:
        """Keeps a line."""
        self.lines.append(text)
