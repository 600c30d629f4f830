"""Whether a set shows one look or several: tags that exclude one another, and outfits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from renma.caption.assistant.categories import Family, families, shipped
from renma.caption.assistant.statistics import TagTable, clusters, places

_RIVAL = 0.2
"""Share of the captions from which on a look is one of its own, not a mistake."""
_APART = 0.25
"""Looks that share more of their captions than this are no rivals but said together."""
_WHOLE = 0.9
"""Looks of a set make up this much of all that captions say of the kind; else the set just varies,
as that of a style does."""
_BOUND = 0.7
"""Phi that binds clothes into an outfit."""


@dataclass(frozen=True)
class Option:
    """One of several looks, such as a hair colour.

    Args:
        tags: the tags that say it and that some caption has, folded.
        captions: which captions have one of them, as bits.
    """

    tags: tuple[str, ...]
    captions: int

    @property
    def count(self) -> int:
        """How many captions say it."""
        return self.captions.bit_count()


def options_of(family: Family, table: TagTable) -> list[Option]:
    """Returns the looks of a family that some caption says, the most frequent first."""
    found = [Option(tuple(t for t in row if t in table), table.bits(row)) for row in family.options]
    return sorted((o for o in found if o.count), key=lambda o: (-o.count, o.tags))


@dataclass(frozen=True)
class Rivals:
    """What is known of a tag's rivals, such as other hair colours.

    Args:
        family: what they tell apart.
        own: the look that the tag says.
        others: the other looks that captions say, the most frequent first.
        several: whether at least two looks are too frequent to be mistakes.
    """

    family: Family
    own: Option
    others: tuple[Option, ...]
    several: bool

    @property
    def first(self) -> Option | None:
        """The most frequent rival."""
        return self.others[0] if self.others else None


def rivals_of(tag: str, table: TagTable) -> Rivals | None:
    """Returns the rivals of a folded tag, or None where it has no family or no rival."""
    for family in families():
        if family.kind != "look" or family.option(tag) is None:
            continue
        options = options_of(family, table)
        own = next(option for option in options if tag in option.tags)
        others = tuple(o for o in options if o is not own and _apart(own, o, family, table))
        if others:
            several = any(own is each for each in _several(family, options, table))
            return Rivals(family, own, others, several)
    return None


def several_looks(table: TagTable) -> Iterator[tuple[Family, list[Option]]]:
    """Yields every family of which the captions say several looks."""
    for family in families():
        if family.kind != "look":
            continue
        if found := _several(family, options_of(family, table), table):
            yield family, found


def outfits(table: TagTable) -> list[tuple[str, ...]]:
    """Returns groups of clothes that are worn together and not with those of another group.

    A group has two tags or more and is worn in a tenth of the pictures at least, in two of them.
    """
    least = max(2, round(table.total / 10))
    clothes = [
        tag
        for tag in table.tags
        if (found := shipped().of(tag)) and found.group == "clothes"
        and least <= table.count(tag) < table.total
    ]  # fmt: skip
    found = clusters(table, clothes, _BOUND)
    worn = {group: table.bits(group) for group in found}
    apart = [
        group
        for group in found
        if any(_far(worn[group], worn[other]) for other in found if other is not group)
    ]
    return sorted(apart, key=lambda group: (-worn[group].bit_count(), group))


def named(bits: int, names: Sequence[str], most: int = 3) -> str:
    """Returns the names of captions, the first few by alphabet, the others counted."""
    found = sorted(names[place] for place in places(bits))
    more = f" and {len(found) - most} more" if len(found) > most else ""
    return ", ".join(found[:most]) + more


def _several(family: Family, options: Sequence[Option], table: TagTable) -> list[Option]:
    """Returns the looks of which a set shows several, or none."""
    often = [o for o in options if _frequent(o, table)]
    apart = [o for o in often if any(o is not p and _apart(o, p, family, table) for p in often)]
    said = table.bits(tag for o in options for tag in o.tags).bit_count()
    known = table.bits(tag for o in apart for tag in o.tags).bit_count()
    return apart if len(apart) > 1 and known >= _WHOLE * said else []


def _frequent(option: Option, table: TagTable) -> bool:
    return option.count >= max(2, _RIVAL * table.total)


def _apart(one: Option, other: Option, family: Family, table: TagTable) -> bool:
    """Says whether two looks exclude each other in these captions, too."""
    excused = table.bits(family.unless)
    return _far(one.captions & ~excused, other.captions & ~excused)


def _far(one: int, other: int) -> bool:
    least = min(one.bit_count(), other.bit_count())
    return least > 0 and (one & other).bit_count() <= _APART * least
