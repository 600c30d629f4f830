"""Edits of a caption as a list of tags: pure functions, a tuple in, a tuple out.

Tags are compared letter by letter. No edit drops or reorders a tag it is not asked for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Literal

Tags = tuple[str, ...]
Order = Literal["alphabet", "frequency", "length"]

_WORD = re.compile(r"[^\W_]{2}")
_STAR = re.compile(r"\\\*|\*")
_ESCAPED = re.compile(r"\\([()])")
_BARE = re.compile(r"(?<!\\)([()])")
_LONGEST_FACE = 3


def parse(text: str, separator: str = ",") -> Tags:
    """Returns the tags of a text in their order, without blanks around them and without empty ones.

    Args:
        text: one line of a caption.
        separator: what stands between tags.
    """
    return tuple([tag for part in text.split(separator) if (tag := part.strip())])


def join(tags: Iterable[str], separator: str = ", ") -> str:
    """Returns tags as one text."""
    return separator.join(tags)


def between(separator: str) -> str:
    """Returns what is written between tags that were split at ``separator``: ``,`` gives ``, ``."""
    return separator if separator.isspace() else f"{separator.strip()} "


def add(tags: Tags, new: Iterable[str], at: int | None = None) -> Tags:
    """Returns the tags with those of ``new`` that they lack.

    Args:
        tags: a caption's tags.
        new: tags to add, in their order.
        at: index that the first added tag gets (default: behind the last one).
    """
    fresh = tuple(tag for tag in dict.fromkeys(new) if tag not in tags)
    place = len(tags) if at is None else at
    return (*tags[:place], *fresh, *tags[place:])


def prepend(tags: Tags, new: Iterable[str]) -> Tags:
    """Returns the tags with those of ``new`` in front; what stands elsewhere moves there."""
    first = tuple(dict.fromkeys(new))
    return (*first, *(tag for tag in tags if tag not in first))


def append(tags: Tags, new: Iterable[str]) -> Tags:
    """Returns the tags with those of ``new`` at the end; what stands elsewhere moves there."""
    last = tuple(dict.fromkeys(new))
    return (*(tag for tag in tags if tag not in last), *last)


def remove(tags: Tags, *patterns: str) -> Tags:
    """Returns the tags that fit none of the patterns; ``*`` stands for any letters."""
    tests = [like(pattern) for pattern in patterns]
    return tuple(tag for tag in tags if not any(test(tag) for test in tests))


def replace(tags: Tags, old: str, new: Iterable[str]) -> Tags:
    """Returns the tags with others in the place of those that fit a pattern.

    A new tag that the caption already has elsewhere is not written a second time.

    Args:
        tags: a caption's tags.
        old: a tag; ``*`` stands for any letters.
        new: what takes its place, one tag or more; a ``*`` is filled with what the pattern's star
            of the same number stood for.
    """
    fits, after = matcher(old), tuple(new)
    hits = [fits(tag) for tag in tags]
    others = {tag for tag, hit in zip(tags, hits, strict=True) if hit is None}
    found: list[str] = []
    for tag, hit in zip(tags, hits, strict=True):
        if hit is None:
            found.append(tag)
        else:
            filled = _filled(after, hit)
            found += [each for each in filled if each == tag or each not in others]
    return tuple(found)


def sort(tags: Tags, by: Order = "alphabet", counts: Mapping[str, int] | None = None) -> Tags:
    """Returns the tags in another order; equals keep theirs.

    Args:
        tags: a caption's tags.
        by: alphabet (case overlooked), frequency (the most frequent first), length (the shortest
            first).
        counts: how many captions have a tag, for frequency.
    """
    known = counts or {}
    keys: dict[str, Callable[[str], object]] = {
        "alphabet": str.casefold,
        "frequency": lambda tag: -known.get(tag, 0),
        "length": len,
    }
    return tuple(sorted(tags, key=keys[by]))  # pyright: ignore[reportArgumentType, reportCallIssue]


def dedupe(tags: Tags, before: Iterable[str] = ()) -> Tags:
    """Returns every tag once, where it first stands, without those of ``before``."""
    seen = set(before)
    return tuple(tag for tag in dict.fromkeys(tags) if tag not in seen)


def is_face(tag: str) -> bool:
    """Says whether a tag is drawn rather than written, as ``^_^`` and ``||_||`` are.

    Those have three signs at most, or nowhere two letters side by side.
    """
    return len(tag) <= _LONGEST_FACE or not _WORD.search(tag)


def to_spaces(tags: Tags) -> Tags:
    """Returns the tags with blanks for underscores; faces such as ``^_^`` stay."""
    return tuple(tag if is_face(tag) else tag.replace("_", " ").strip() for tag in tags)


def to_underscores(tags: Tags) -> Tags:
    """Returns the tags with underscores for blanks."""
    return tuple(tag.replace(" ", "_") for tag in tags)


def escape(tags: Tags) -> Tags:
    r"""Returns the tags with ``\(`` and ``\)`` for brackets, which prompts take as weights."""
    return tuple(_BARE.sub(r"\\\1", tag) for tag in tags)


def unescape(tags: Tags) -> Tags:
    r"""Returns the tags with plain brackets for ``\(`` and ``\)``."""
    return tuple(_ESCAPED.sub(r"\1", tag) for tag in tags)


def truncate(tags: Tags, limit: int, count: Callable[[Tags], int], keep: int = 1) -> Tags:
    """Returns as many tags from the first as fit.

    Args:
        tags: a caption's tags.
        limit: the most that ``count`` may say.
        count: weighs tags, such as their CLIP tokens.
        keep: so many tags stay in any case.
    """
    while len(tags) > max(keep, 0) and count(tags) > limit:
        tags = tags[:-1]
    return tags


def fold(tag: str) -> str:
    """Returns what is left of a tag when case, underscores and escaped brackets are overlooked."""
    return " ".join(_ESCAPED.sub(r"\1", tag).replace("_", " ").casefold().split())


def stars(pattern: str) -> int:
    r"""Returns how many wildcards a pattern has; ``\*`` is a plain star."""
    return sum(match[0] == "*" for match in _STAR.finditer(pattern))


def like(pattern: str) -> Callable[[str], bool]:
    r"""Returns the test for a pattern: ``*`` stands for any letters, ``\*`` for a star."""
    fits = matcher(pattern)
    return lambda tag: fits(tag) is not None


@cache
def matcher(pattern: str) -> Callable[[str], tuple[str, ...] | None]:
    """Returns what tells, of a tag that fits a pattern, what each star stood for; else None."""
    if not stars(pattern):
        plain = pattern.replace(r"\*", "*")
        return lambda tag: () if tag == plain else None
    parts = (part.replace(r"\*", "*") for part in re.split(r"(?<!\\)\*", pattern))
    regex = re.compile("(.*)".join(map(re.escape, parts)), re.DOTALL)

    def fits(tag: str) -> tuple[str, ...] | None:
        match = regex.fullmatch(tag)
        return match.groups() if match else None

    return fits


def _filled(new: Tags, found: tuple[str, ...]) -> Tags:
    """Returns the new tags with what the stars of the old one stood for."""
    rest = iter(found)

    def one(match: re.Match[str]) -> str:
        return next(rest, "") if match[0] == "*" else "*"

    return tuple(tag for each in new if (tag := _STAR.sub(one, each).strip()))
