"""How much of a file's text the page shows, and how it says what it leaves out (no torch)."""

from __future__ import annotations

from collections.abc import Sequence

from renma.judge.report import facts

MOST = 24
"""Sentences of one list."""


def bounded(sentences: Sequence[str], file: str) -> list[str]:
    """Returns the first sentences, long ones cut, and last how many more the file has."""
    rest = len(sentences) - MOST
    more = [f"And {rest} more in {file}."] if rest > 0 else []
    return [*(facts.cut(one) for one in sentences[:MOST]), *more]


def left_out(file: str, *counts: tuple[str, int]) -> str:
    """Returns what the page does not show of a file; empty where that is nothing."""
    parts = [f"{count} more {name}" for name, count in counts if count > 0]
    return f"Not shown: {', '.join(parts)}; {file} has them." if parts else ""
