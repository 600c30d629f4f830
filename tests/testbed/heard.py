"""A report that remembers what it was told."""

from __future__ import annotations

from renma.core.events import Silent


class Heard(Silent):
    """Keeps the lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def line(self, text: str) -> None:
        """Keeps one."""
        self.lines.append(text)
