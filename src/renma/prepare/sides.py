"""Left and right in captions of mirrored pictures."""

from __future__ import annotations

import re

_OTHER = {"left": "right", "right": "left", "左": "右", "右": "左"}
# tags bind words by underscores and hyphens; `bright`, `upright` and `cleft` are other words
_SIDE = re.compile(
    r"(?<![A-Za-z])(?:left|right)(?=(?:most|side|hand|handed|wards?)?(?![A-Za-z]))|[左右]",
    re.IGNORECASE,
)


def names_side(text: str) -> bool:
    """Says whether a caption says left or right."""
    return _SIDE.search(text) is not None


def swapped(text: str) -> str:
    """Returns a caption with left and right exchanged, in the case they were written in."""
    return _SIDE.sub(lambda found: _as_written(found[0]), text)


def _as_written(word: str) -> str:
    other = _OTHER[word.lower()]
    if word.isupper():
        return other.upper()
    return other.capitalize() if word[0].isupper() else other
