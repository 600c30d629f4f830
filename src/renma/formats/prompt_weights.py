"""Weights in prompts: ``(word)``, ``(word:1.3)``, ``[word]``, as web UIs and kohya write them.

Round brackets strengthen by 1.1, square ones weaken by 1.1, a number after a colon is the factor
itself, brackets inside brackets multiply. A backslash makes the next bracket plain text. What is
opened and never closed weighs until the end; what is closed and never opened is plain text.
"""

from __future__ import annotations

import re

STEP = 1.1
_TOKEN = re.compile(
    r"\\(?P<plain>[\\()\[\]])"
    r"|(?P<open>[(\[])"
    r"|:\s*(?P<factor>[+-]?(?:\d+\.?\d*|\.\d+))\s*\)"
    r"|(?P<close>[)\]])"
    r"|[^\\()\[\]:]+|."
    , re.DOTALL,
)  # fmt: skip
_STEPS = {"(": STEP, "[": 1 / STEP}
_OPENED_BY = {")": "(", "]": "["}


def parse(prompt: str) -> list[tuple[str, float]]:
    """Returns the texts of a prompt, in order, each with its weight.

    Neighbours of equal weight are one text, so a prompt without brackets comes back whole.
    """
    pieces: list[tuple[str, float]] = []
    opened: dict[str, list[int]] = {"(": [], "[": []}

    def weigh(start: int, factor: float) -> None:
        pieces[start:] = [(text, weight * factor) for text, weight in pieces[start:]]

    for match in _TOKEN.finditer(prompt):
        factor, close = match["factor"], match["close"]
        if match["open"]:
            opened[match["open"]].append(len(pieces))
        elif factor and opened["("]:
            weigh(opened["("].pop(), float(factor))
        elif close and opened[_OPENED_BY[close]]:
            bracket = _OPENED_BY[close]
            weigh(opened[bracket].pop(), _STEPS[bracket])
        else:
            pieces.append((match["plain"] or match[0], 1.0))
    for bracket, starts in opened.items():
        for start in starts:
            weigh(start, _STEPS[bracket])
    return _joined(pieces)


def _joined(pieces: list[tuple[str, float]]) -> list[tuple[str, float]]:
    found: list[tuple[str, float]] = []
    for text, weight in pieces:
        if found and found[-1][1] == weight:
            text = found.pop()[0] + text
        found.append((text, weight))
    return found or [("", 1.0)]
