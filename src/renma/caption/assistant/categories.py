"""What kind of thing a tag says: hair, pose, background, ...

The table is ``assets/tags/categories.toml``: whole tags, last words and first words. It knows the
tags that drawn pictures are described with; of others it says nothing.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from renma import assets
from renma.caption.tags import fold, is_face

Group = Literal["subject", "accessory", "clothes", "keep", "ask"]
FOLDER = assets.FOLDER / "tags"
_NAMED = re.compile(r".+ \((.+)\)")
"""A name with what it is from: ``saber (fate)``."""
_WEIGHT = re.compile(r"[([{]*(.*?)(?::\d*\.?\d+)?[)\]}]*")
_LONGEST = 4
"""Words of the longest head and start."""


@dataclass(frozen=True)
class Category:
    """One kind of tag.

    Args:
        name: what it is called.
        group: what becomes of its tags that nearly all pictures of a character have.
        why: ends the sentence "..., because it ...".
    """

    name: str
    group: Group
    why: str


@dataclass(frozen=True)
class Family:
    """Tags that cannot all be true of one subject.

    Args:
        name: what they tell apart.
        kind: look, if a character has one of them; scene, if a picture has.
        options: tags that mean the same, or may be said together, in one row.
        unless: tags that make several possible.
    """

    name: str
    kind: Literal["look", "scene"]
    options: tuple[tuple[str, ...], ...]
    unless: frozenset[str]

    def option(self, tag: str) -> int | None:
        """Returns the row that holds a folded tag, or None."""
        return next((place for place, row in enumerate(self.options) if tag in row), None)


class Categories:
    """The table.

    Args:
        rows: as in the file.
    """

    def __init__(self, rows: Sequence[dict[str, Any]]) -> None:
        self.all: dict[str, Category] = {}
        self._tags: dict[str, Category] = {}
        self._heads: dict[str, Category] = {}
        self._starts: dict[str, Category] = {}
        for row in rows:
            category = Category(row["name"], row["group"], row["why"])
            self.all[category.name] = category
            for known, key in (
                (self._tags, "tags"), (self._heads, "heads"), (self._starts, "starts")
            ):  # fmt: skip
                known.update(dict.fromkeys(split(row.get(key, "")), category))

    def of(self, tag: str) -> Category | None:
        """Returns what kind of thing a tag says, or None where that is not known.

        Case, underscores, escaped brackets and a weight around the tag are overlooked.
        """
        name = fold(tag)
        return self._plain(name) or self._plain(_unweighted(name)) or self._odd(tag, name)

    def _plain(self, name: str) -> Category | None:
        if found := self._whole(name):
            return found
        words = name.split(" ")
        heads, starts = self._inside(words)
        best = max((*heads, *starts), default=None, key=lambda fit: fit[0])
        return best[1] if best else None

    def _whole(self, name: str) -> Category | None:
        return next((self._tags[form] for form in _singular(name) if form in self._tags), None)

    def _inside(self, words: list[str]) -> tuple[list[tuple[tuple[int, bool, int], Category]], ...]:
        """Returns the last and the first words that are known, each with how well it fits."""
        heads, starts = [], []
        for count in range(1, min(_LONGEST, len(words)) + 1):
            last, first = " ".join(words[-count:]), " ".join(words[:count])
            heads += [
                ((count, False, len(form)), self._heads[form])
                for form in _singular(last)
                if form in self._heads
            ]
            if first in self._starts and count < len(words):
                starts.append(((count, True, len(first)), self._starts[first]))
        return heads, starts

    def _odd(self, tag: str, name: str) -> Category | None:
        if name and is_face(tag) and not tag.isalnum():
            return self.all["expression"]
        if match := _NAMED.fullmatch(name):
            inside = self._plain(name.removesuffix(f" ({match[1]})"))
            return inside or self.all["name"]
        return None


@cache
def shipped() -> Categories:
    """Returns the table inside renma, read once."""
    return Categories(_read("categories.toml")["category"])


@cache
def families() -> tuple[Family, ...]:
    """Returns the families inside renma, read once."""
    return tuple(
        Family(
            row["name"],
            row["kind"],
            tuple(split(line) for line in row["options"].strip().splitlines()),
            frozenset(split(row.get("unless", ""))),
        )
        for row in _read("families.toml")["family"]
    )


@cache
def hiding() -> dict[str, frozenset[str]]:
    """Returns category to the tags of pictures in which nothing of it may be seen."""
    found: dict[str, frozenset[str]] = {}
    for row in _read("families.toml")["hidden"]:
        for category in split(row["categories"]):
            found[category] = found.get(category, frozenset()) | {*split(row["by"])}
    return found


def split(text: str) -> tuple[str, ...]:
    """Returns the entries of a list as the tables write it, in one line or several."""
    return tuple(entry for part in text.split(",") if (entry := " ".join(part.split())))


def _read(name: str) -> dict[str, Any]:
    return tomllib.loads((FOLDER / name).read_text(encoding="utf-8"))


def _singular(name: str) -> Iterator[str]:
    yield name
    for ending in ("s", "es"):
        if name.endswith(ending) and len(name) > len(ending) + 2:
            yield name.removesuffix(ending)


def _unweighted(name: str) -> str:
    match = _WEIGHT.fullmatch(name)
    return match[1] if match else name
