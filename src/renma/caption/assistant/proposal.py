"""Which tags to take out of captions so that the trigger word absorbs them (the Maruzen method).

What every caption says and only the trigger stands for is learned by whichever of them comes with
it; a tag that is taken out can be learned by the trigger alone. So of a character's captions the
tags that describe the character go, and what changes between pictures stays, so that prompts can
still ask for it. Proposals depend on the captions as a set: neither on their order nor on that of
their tags.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from renma.caption.assistant.categories import Category, Group, hiding, shipped
from renma.caption.assistant.looks import Rivals, named, outfits, rivals_of, several_looks
from renma.caption.assistant.sentences import is_sentence
from renma.caption.assistant.statistics import TagTable
from renma.caption.tags import Tags, fold, like
from renma.core.counted import counted

Decision = Literal["trigger", "remove", "uncertain", "keep"]
Kind = Literal["character", "style", "object"]
ORDER: tuple[Decision, ...] = ("trigger", "remove", "uncertain", "keep")
_HALF = 0.5
_FEW = 8
"""With fewer captions, shares say little."""
_OWN: dict[Kind, frozenset[Group]] = {
    "character": frozenset({"subject", "accessory"}),
    "object": frozenset({"accessory", "clothes"}),
    "style": frozenset(),
}
_THINGS = "object"
"""The category that a subject of kind object may have its tags in, beside those that are worn."""


@dataclass(frozen=True)
class Aims:
    """What the captions are to teach.

    Args:
        kind: what the trigger is to stand for.
        clothes: whether a character's clothes are learned as part of it.
        trigger: the word, or empty.
        share: from this share of the captions on, a tag is always there.
        keep: patterns of tags that stay, whatever is known.
        remove: patterns of tags that go, whatever is known.
    """

    kind: Kind = "character"
    clothes: Literal["keep", "remove"] = "keep"
    trigger: str = ""
    share: float = 0.8
    keep: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()


@dataclass(frozen=True)
class Row:
    """What is proposed for one tag.

    Args:
        tag: as it is written most.
        spellings: all ways in which it is written.
        category: what kind of thing it says; empty if that is not known.
        captions: how many have it.
        share: of all captions, 0 to 1.
        decision: what to do.
        why: the reason.
    """

    tag: str
    spellings: tuple[str, ...]
    category: str
    captions: int
    share: float
    decision: Decision
    why: str


@dataclass(frozen=True)
class Proposal:
    """What is proposed for a set of captions.

    Args:
        total: captions there are.
        rows: what goes first, then what is uncertain, then what stays, by frequency.
        notes: what concerns the whole set.
    """

    total: int
    rows: tuple[Row, ...]
    notes: tuple[str, ...]

    def having(self, decision: Decision) -> list[Row]:
        """Returns the rows with a decision."""
        return [row for row in self.rows if row.decision == decision]

    @property
    def removed(self) -> Tags:
        """Every spelling of every tag that goes."""
        return tuple(tag for row in self.having("remove") for tag in row.spellings)


def propose(captions: Mapping[str, Tags], aims: Aims) -> Proposal:
    """Returns a proposal.

    Args:
        captions: name to tags.
        aims: what the captions are to teach.
    """
    names, table = tuple(captions), TagTable(captions.values())
    judge = _Judge(table, names, aims)
    rows = sorted(
        (judge.row(tag) for tag in table.tags),
        key=lambda row: (ORDER.index(row.decision), -row.captions, row.tag),
    )
    notes = tuple(_notes(table, aims, names, rows))
    return Proposal(table.total, tuple(rows), notes)


class _Judge:
    """Decides tag by tag."""

    def __init__(self, table: TagTable, names: Sequence[str], aims: Aims) -> None:
        self._table, self._names, self._aims = table, names, aims
        self._kept = [like(fold(each)) for each in aims.keep]
        self._removed = [like(fold(each)) for each in aims.remove]

    def row(self, tag: str) -> Row:
        """Returns the row of a folded tag."""
        found = shipped().of(tag)
        decision, why = self._decided(tag, found)
        table = self._table
        return Row(
            table.shown(tag),
            table.spellings(tag),
            found.name if found else "",
            table.count(tag),
            table.share(tag),
            decision,
            why,
        )

    def _decided(self, tag: str, found: Category | None) -> tuple[Decision, str]:
        if self._aims.trigger and tag == fold(self._aims.trigger):
            return "trigger", "stands first"
        if any(test(tag) for test in self._kept):
            return "keep", "you say so"
        if any(test(tag) for test in self._removed):
            return "remove", "you say so"
        if is_sentence(tag):
            return "keep", "is a sentence, no tag"
        if self._aims.kind == "style":
            return "keep", self._for_style(tag, found)
        if found is None or found.group == "ask":
            return self._unknown(tag, found)
        if self._own(found):
            return self._subject(tag, found)
        return "keep", self._for_keeping(tag, found)

    def _own(self, found: Category) -> bool:
        """Says whether tags of a kind go where they are always there."""
        if self._aims.kind == "object" and found.name == _THINGS:
            return True
        if self._aims.kind == "character" and found.group == "clothes":
            return self._aims.clothes == "remove"
        return found.group in _OWN[self._aims.kind]

    def _subject(self, tag: str, found: Category) -> tuple[Decision, str]:
        """Decides about a tag that describes what the trigger stands for."""
        hidden = self._hidden(tag, found)
        visible = self._table.total - hidden.bit_count()
        share = self._table.count(tag) / visible
        rivals = rivals_of(tag, self._table)
        if rivals and rivals.several:
            return "uncertain", f"{self._of_all(tag)}: several {rivals.family.name} (see below)"
        if share >= self._aims.share:
            return "remove", f"{found.why}, {self._of_all(tag)}{self._excuse(hidden)}"
        if rivals and rivals.first and rivals.first.count > rivals.own.count:
            return self._against(tag, rivals)
        if other := self._finer_than(tag, found):
            return "uncertain", f"{self._of_all(tag)}: says more about '{other}', which goes"
        if share >= _HALF:
            only = f"{self._of_all(tag)} only{self._excuse(hidden)}"
            return "uncertain", f"{found.why}, but {only}: missed in the others, or it changes"
        return "keep", f"{self._of_all(tag)}: it changes, so it is said"

    def _hidden(self, tag: str, found: Category) -> int:
        """Returns the captions without the tag whose pictures may just not show it, as bits."""
        table = self._table
        return table.bits(hiding().get(found.name, ())) & ~table.bits((tag,))

    def _excuse(self, hidden: int) -> str:
        if not hidden:
            return ""
        return f"; {named(hidden, self._names)} may not show it"

    def _against(self, tag: str, rivals: Rivals) -> tuple[Decision, str]:
        """Decides about a rare look beside a frequent one of the same kind."""
        assert rivals.first
        other = self._table.shown(rivals.first.tags[0])
        names = named(self._table.bits((tag,)), self._names)
        against = f"{self._of_all(tag)} against '{other}' in {rivals.first.count:,}"
        return "uncertain", f"{against}: a mistake, or another look? {names}"

    def _finer_than(self, tag: str, found: Category) -> str:
        """Returns a tag that always goes and that this one only says more exactly, or nothing."""
        last = tag.split()[-1].removesuffix("s")
        for other in self._table.tags:
            if self._table.share(other) < self._aims.share:
                break  # the most frequent come first
            known = shipped().of(other)
            alike = other != tag and known and known.name == found.name
            if alike and other.split()[-1].removesuffix("s") == last:
                pair = self._table.pair(tag, other)
                if pair.both == pair.first:
                    return self._table.shown(other)
        return ""

    def _unknown(self, tag: str, found: Category | None) -> tuple[Decision, str]:
        """Decides about names, and about tags that the table does not know."""
        said = found.why if found else "what it says is not known to renma"
        if self._table.share(tag) >= _HALF:
            return "uncertain", f"{said}; {self._of_all(tag)}: does it belong to the subject?"
        return "keep", f"{said}; {self._of_all(tag)}"

    def _for_keeping(self, tag: str, found: Category) -> str:
        if found.group == "clothes":
            return "is worn and can be changed: prompts can ask for other clothes"
        if self._table.count(tag) == self._table.total > 1:
            return f"{found.why}; in every caption, see `renma caption audit`"
        return found.why

    def _for_style(self, tag: str, found: Category | None) -> str:
        if found and found.name == "style":
            return "says the style itself: prompts must say it, too"
        if found and found.name == "meta":
            return found.why
        if self._table.share(tag) >= self._aims.share:
            return f"{self._of_all(tag)}: it is learned with the style, though it is said"
        return "what is said is not learned as the style"

    def _of_all(self, tag: str) -> str:
        return f"in {self._table.count(tag):,} of {self._table.total:,}"


def _notes(table: TagTable, aims: Aims, names: Sequence[str], rows: Sequence[Row]) -> Iterator[str]:
    """Yields what concerns the whole set."""
    if 0 < table.total < _FEW:
        yield f"{counted(table.total, 'caption')} only: shares say little, look at each row."
    if aims.kind == "style":
        yield from _style_notes(table, aims, rows)
        return
    for family, options in several_looks(table):
        found = " and ".join(
            f"'{table.shown(o.tags[0])}' in {o.count:,} ({named(o.captions, names)})"
            for o in options
        )
        yield (
            f"Several {family.name}: {found}. If these are several characters or looks, give each "
            "a trigger and a folder of its own; if one is a mistake, correct the tags."
        )
    worn = outfits(table)
    if len(worn) > 1:
        found = "; ".join(
            f"{', '.join(map(table.shown, group))} ({named(table.bits(group), names)})"
            for group in worn
        )
        advice = (
            "Their tags stay; for an outfit that a word of its own is to call, put that word into "
            "its captions and remove its tags there (`renma caption edit --where`)."
        )
        yield f"{len(worn)} outfits that are never mixed: {found}. {advice}"


def _style_notes(table: TagTable, aims: Aims, rows: Sequence[Row]) -> Iterator[str]:
    """Yields why everything stays, and what is learned with the style nevertheless."""
    yield (
        "For a style all tags stay: what a caption says is learned as that, what it leaves out "
        "is learned as the style. With few pictures put a trigger first; with many none is needed."
    )
    leaking = [
        row
        for row in rows
        if row.share >= aims.share and row.category not in ("style", "meta", "count", "adult", "")
    ]
    if leaking:
        found = ", ".join(f"'{row.tag}' ({row.share:.0%})" for row in leaking)
        yield f"These come with the style unasked: {found}. Add pictures without them."
    for name in ("background", "framing", "hair", "clothes"):
        silent = [
            caption
            for caption, tags in enumerate(_categories(table))
            if name not in tags
        ]  # fmt: skip
        if table.total >= _FEW and len(silent) > _HALF * table.total:
            yield (
                f"{len(silent):,} of {table.total:,} captions say nothing of the category "
                f"'{name}': where such a thing is in the picture, the style learns it."
            )


def _categories(table: TagTable) -> list[set[str]]:
    """Returns the categories of the tags of every caption."""
    found: list[set[str]] = [set() for _ in range(table.total)]
    for tag in table.tags:
        if known := shipped().of(tag):
            for place in table.with_any((tag,)):
                found[place].add(known.name)
    return found
