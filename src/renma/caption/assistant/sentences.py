"""Tells captions in sentences from lists of tags: a sentence has words that no tag has."""

from __future__ import annotations

import re
from collections.abc import Sequence

_LONG = 7
"""Parts with more words than tags have are sentences, whatever they say."""
_SHORT = 4
"""Parts with fewer words are tags."""
_WORD = re.compile(r"[^\W\d_]+")
_TELLING = {
    "a", "an", "the", "is", "are", "has", "her", "his", "their", "she", "he", "they", "it", "with",
    "wearing", "who", "which", "that", "there", "against", "while", "and", "of",
}  # fmt: skip
_OVERLAP = 2


def is_sentence(part: str) -> bool:
    """Says whether what stands between two separators is a sentence, or a piece of one."""
    words = [word.lower() for word in _WORD.findall(part)]
    if len(words) > _LONG:
        return True
    telling = sum(word in _TELLING for word in words)
    ends = part.rstrip().endswith((".", "!", "?")) and len(words) > 1
    return len(words) >= _SHORT and (telling >= _OVERLAP or (telling > 0 and ends))


def in_words(tags: Sequence[str]) -> bool:
    """Says whether a caption is written in sentences: half of its words or more are."""
    words = sum(len(_WORD.findall(tag)) for tag in tags)
    said = sum(len(_WORD.findall(tag)) for tag in tags if is_sentence(tag))
    return said * 2 >= words > 0
