"""What is said about a tag that no caption has: which ones were perhaps meant."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from renma.caption.tags import fold, like, stars
from renma.core.errors import did_you_mean

_NAMED = 3


def missed(patterns: Iterable[str], counts: Mapping[str, int]) -> list[str]:
    """Returns a line for each pattern that fits no tag.

    Args:
        patterns: tags, perhaps with wildcards.
        counts: tag to how many captions have it.
    """
    return [near(p, counts) for p in dict.fromkeys(patterns) if not any(map(like(p), counts))]


def near(pattern: str, counts: Mapping[str, int]) -> str:
    """Returns ``no caption has 'blue hair'; 12 have 'blue_hair'`` about a tag that none has."""
    if stars(pattern):
        folded = like(fold(pattern))
        alike = [tag for tag in counts if folded(fold(tag))]
    else:
        pattern = pattern.replace(r"\*", "*")
        alike = [tag for tag in counts if fold(tag) == fold(pattern)]
    alike.sort(key=lambda tag: (-counts[tag], tag))
    line = f"no caption has '{pattern}'"
    if alike:
        have = [f"{counts[tag]:,} have '{tag}'" for tag in alike[:_NAMED]]
        return f"{line}; {', '.join(have)}"
    hint = did_you_mean(pattern, counts)
    return f"{line}. {hint}" if hint else f"{line}."
