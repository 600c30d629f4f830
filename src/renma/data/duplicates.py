"""Exact duplicates: files with the same bytes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

T = TypeVar("T")


def exact_duplicates(hashed: Iterable[tuple[T, str]]) -> list[list[T]]:
    """Returns the groups of two and more that share a hash, in the order in which they came.

    Args:
        hashed: things with the hash of their bytes; an empty hash is like no other.
    """
    groups: dict[str, list[T]] = {}
    for thing, known in hashed:
        if known:
            groups.setdefault(known, []).append(thing)
    return [group for group in groups.values() if len(group) > 1]
