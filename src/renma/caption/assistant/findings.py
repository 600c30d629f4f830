"""What an audit finds: one thing that is wrong or odd with a set of captions, and what to do."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from renma.caption.assistant.sets import CaptionSet, Sets, Trigger, in_lists
from renma.caption.assistant.statistics import TagTable
from renma.caption.tags import Tags
from renma.data.notes import shown

Gravity = Literal["mend", "look", "know"]
GRAVITIES: dict[Gravity, int] = {"mend": 2, "look": 1, "know": 0}
"""What is taught wrongly comes before what may be meant, and that before what is good to know."""
_NAMED = 4


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    Args:
        code: its name for programs.
        gravity: mend (something unwanted is learned), look (perhaps meant), know.
        text: what it is, in words.
        remedy: what to do.
        count: captions, or tags, that it concerns.
        total: how many there are of those.
        names: captions that it concerns, if these are to be found.
    """

    code: str
    gravity: Gravity
    text: str
    remedy: str
    count: int
    total: int
    names: tuple[str, ...] = ()

    @property
    def weight(self) -> float:
        """How much it matters: the gravity, then the share of what it concerns."""
        return GRAVITIES[self.gravity] + (self.count / self.total if self.total else 0.0)

    def line(self) -> str:
        """Returns it in one line, with the names of some captions."""
        return f"{self.count:,} of {self.total:,} {self.text}{_some(self.names)}"


@dataclass(frozen=True)
class Audited:
    """The captions of one set, as the checks see them.

    Args:
        found: the set.
        trigger: its word.
        reg: the tags of all regularisation pictures' captions.
        tokens: the most CLIP tokens that training reads of a caption.
        weighted: whether training obeys weights such as (smile:1.2).
        captions: name to tags, of all captions.
        lists: name to tags, of those that are lists of tags.
        sentences: names of the others.
        table: the lists, counted.
        names: of the lists, in the order of the table.
    """

    found: CaptionSet
    trigger: Trigger
    reg: TagTable
    tokens: int
    weighted: bool = False
    captions: Mapping[str, Tags] = field(default_factory=dict)
    lists: Mapping[str, Tags] = field(default_factory=dict)
    sentences: tuple[str, ...] = ()
    table: TagTable = field(default_factory=lambda: TagTable(()))
    names: tuple[str, ...] = ()

    @classmethod
    def of(cls, found: CaptionSet, trigger: Trigger, reg: TagTable, sets: Sets) -> Audited:
        """Returns one of several sets with its tags counted."""
        lists, sentences = in_lists(found)
        return cls(
            found, trigger, reg, sets.tokens, sets.weighted, found.captions, lists, sentences,
            TagTable(lists.values()), tuple(lists),
        )  # fmt: skip

    def command(self, verb: str, *words: str) -> str:
        """Returns a command about this set, ready to be copied."""
        parts = ["renma", "caption", verb, shown(self.found.folder), *words]
        return f"`{shlex.join(parts)}`"

    def named(self, places: Sequence[int]) -> tuple[str, ...]:
        """Returns the names of captions of the table."""
        return tuple(sorted(self.names[place] for place in places))


def _some(names: Sequence[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f": {', '.join(names[:_NAMED])}{more}"
