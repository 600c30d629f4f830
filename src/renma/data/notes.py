"""What a scan has to tell: one line for each kind of oddity, with the files it concerns."""

from __future__ import annotations

from pathlib import Path

_NAMED = 5
"""So many files are named in one line; the others are counted."""


def shown(path: Path | str) -> str:
    """Returns a path on one line that every terminal, log and JSON file can hold.

    File names may hold line breaks and, on Linux, bytes that are no UTF-8.
    """
    text = str(path).encode("utf-8", "backslashreplace").decode()
    return text.replace("\r", "\\r").replace("\n", "\\n")


class Notes:
    """Collects oddities by kind, so that a thousand equal ones make one line.

    ``skipped`` holds the pictures that are left out, all of them.
    """

    def __init__(self) -> None:
        self._files: dict[str, list[str]] = {}
        self.skipped: list[str] = []

    def add(self, kind: str, *files: Path | str) -> None:
        """Notes one oddity; without files the line says all."""
        known = self._files.setdefault(kind, [])
        known += [text for text in map(shown, files) if text not in known]

    def skip(self, path: Path, why: str) -> None:
        """Notes a picture that is left out."""
        self.skipped.append(shown(path))
        self.add(f"skipped: {why}")

    def lines(self) -> tuple[str, ...]:
        """Returns the warnings in the order in which their kinds were met."""
        return tuple(_line(kind, files) for kind, files in self._files.items())


def _line(kind: str, files: list[str]) -> str:
    if not files:
        return kind
    more = f" and {len(files) - _NAMED} more" if len(files) > _NAMED else ""
    return f"{kind}: {', '.join(files[:_NAMED])}{more}."
