"""How often tags stand in captions, and how they come together.

Every tag is a set of captions, held as one whole number whose bits are the captions: counting two
tags together is one ``and``. For two tags with a and b captions of n, and both in c of them:

    phi      (n c - a b) / sqrt(a b (n - a) (n - b)), Pearson's correlation of the two columns
    jaccard  c / (a + b - c)
    pmi      log2(n c / (a b)), the pointwise mutual information (Church and Hanks, 1990)
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from renma.caption.tags import fold


@dataclass(frozen=True)
class Pair:
    """How two tags come together.

    Args:
        total: captions there are.
        first: captions with the one.
        second: captions with the other.
        both: captions with both.
    """

    total: int
    first: int
    second: int
    both: int

    @property
    def phi(self) -> float | None:
        """Correlation, -1 to 1; None where a tag is in every caption or in none."""
        n, a, b = self.total, self.first, self.second
        spread = a * b * (n - a) * (n - b)
        return (n * self.both - a * b) / math.sqrt(spread) if spread else None

    @property
    def jaccard(self) -> float:
        """Captions with both among those with any of the two; 0 where there are none."""
        either = self.first + self.second - self.both
        return self.both / either if either else 0.0

    @property
    def pmi(self) -> float:
        """Pointwise mutual information in bits; minus infinity where they never meet."""
        if not self.both:
            return -math.inf
        return math.log2(self.total * self.both / (self.first * self.second))


class TagTable:
    """Which captions have which tags.

    Args:
        captions: the tags of each caption, as they are written; case, underscores and escaped
            brackets make no difference between tags.
    """

    def __init__(self, captions: Iterable[Collection[str]]) -> None:
        held: defaultdict[str, list[int]] = defaultdict(list)
        spellings: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.total = 0
        for place, tags in enumerate(captions):
            self.total = place + 1
            for tag in set(tags):
                name = fold(tag)
                held[name].append(place)
                spellings[name][tag] += 1
        self._bits = {name: _as_bits(found, self.total) for name, found in held.items()}
        self.tags = tuple(sorted(held, key=lambda name: (-self.count(name), name)))
        self._spellings = {
            name: tuple(sorted(found, key=lambda tag: (-found[tag], tag)))
            for name, found in spellings.items()
        }

    def __contains__(self, tag: str) -> bool:
        return tag in self._bits

    def count(self, tag: str) -> int:
        """Returns how many captions have a tag."""
        return self._bits.get(tag, 0).bit_count()

    def share(self, tag: str) -> float:
        """Returns the share of captions that have a tag; 0 without captions."""
        return self.count(tag) / self.total if self.total else 0.0

    def spellings(self, tag: str) -> tuple[str, ...]:
        """Returns how a tag is written, the most frequent spelling first."""
        return self._spellings[tag]

    def shown(self, tag: str) -> str:
        """Returns a tag as it is written most."""
        return self._spellings[tag][0]

    def bits(self, tags: Iterable[str]) -> int:
        """Returns the captions that have any of the tags, as bits."""
        found = 0
        for tag in tags:
            found |= self._bits.get(tag, 0)
        return found

    def with_any(self, tags: Iterable[str]) -> list[int]:
        """Returns the indices of the captions that have any of the tags."""
        return list(places(self.bits(tags)))

    def without(self, tag: str) -> list[int]:
        """Returns the indices of the captions that lack a tag."""
        return list(places(self._bits.get(tag, 0) ^ ((1 << self.total) - 1)))

    def pair(self, one: str, other: str) -> Pair:
        """Returns how two tags come together."""
        both = self._bits.get(one, 0) & self._bits.get(other, 0)
        return Pair(self.total, self.count(one), self.count(other), both.bit_count())

    def inseparable(self, least: int = 2) -> list[tuple[str, ...]]:
        """Returns the groups of tags that stand in exactly the same captions, not in all of them.

        Args:
            least: captions that a group must be in.
        """
        groups: defaultdict[int, list[str]] = defaultdict(list)
        for tag in self.tags:
            groups[self._bits[tag]].append(tag)
        return [
            tuple(group)
            for held, group in groups.items()
            if len(group) > 1 and least <= held.bit_count() < self.total
        ]


def clusters(table: TagTable, tags: Sequence[str], least: float) -> list[tuple[str, ...]]:
    """Returns groups of tags that come together: chains of pairs with at least this phi.

    Args:
        table: the captions.
        tags: tags to group, folded.
        least: the phi that binds two.
    """
    group = {tag: [tag] for tag in tags}
    for place, one in enumerate(tags):
        for other in tags[place + 1 :]:
            phi = table.pair(one, other).phi
            if phi is not None and phi >= least and group[one] is not group[other]:
                group[one] += group[other]
                for tag in group[other]:
                    group[tag] = group[one]
    found = {id(each): tuple(sorted(each)) for each in group.values()}
    return sorted(each for each in found.values() if len(each) > 1)


def _as_bits(found: Iterable[int], total: int) -> int:
    held = bytearray(total // 8 + 1)
    for place in found:
        held[place >> 3] |= 1 << (place & 7)
    return int.from_bytes(held, "little")


def places(bits: int) -> Iterator[int]:
    """Yields the indices of the bits that are set, the lowest first."""
    while bits:
        lowest = bits & -bits
        yield lowest.bit_length() - 1
        bits ^= lowest
