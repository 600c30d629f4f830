"""What tags do to one another: fused with the trigger, with each other, at odds, spelt twice."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from renma.caption.assistant.categories import families, shipped
from renma.caption.assistant.findings import Audited, Finding, Gravity
from renma.caption.assistant.looks import named, options_of, several_looks
from renma.caption.assistant.statistics import TagTable, places
from renma.caption.tags import fold

_FEW = 3
"""With fewer captions, what all have is chance."""
_NEARLY, _ENOUGH = 0.85, 8
"""A tag in this share of at least so many captions is missed in the others."""
_SHOWN = 6
_SAME = {"gray": "grey", "blond": "blonde", "color": "colour"}
_SPREAD = {"background", "framing", "gaze", "expression", "pose", "light"}
"""Categories that :mod:`renma.caption.assistant.coverage` looks at."""


def check_fused(audited: Audited) -> Iterator[Finding]:
    """Yields tags that stand wherever the trigger does."""
    table, word = audited.table, fold(audited.trigger.word)
    if table.total < _FEW:
        return
    kinds: defaultdict[str, list[str]] = defaultdict(list)
    for tag in table.tags:
        if table.share(tag) == 1 and tag != word and not audited.reg.count(tag):
            kinds[_kind(tag)].append(tag)
    for kind, (gravity, what, remedy) in _FUSED.items():
        if tags := kinds[kind]:
            found = _quoted(table, tags)
            shown = f"tags are in every caption and {what}: {found}"
            remedy = remedy.replace("MARUZEN", audited.command("maruzen"))
            yield Finding("in-every-caption", gravity, shown, remedy, len(tags), len(table.tags))
    held = [t for t in table.tags if table.share(t) == 1 and t != word and audited.reg.count(t)]
    if held:
        least = min(audited.reg.count(tag) for tag in held)
        yield Finding(
            "held-apart", "know",
            f"tags are in every caption, and told from the trigger by {least:,} or more "
            f"regularisation pictures: {_quoted(table, held)}",
            "Nothing needs to be done.",
            len(held), len(table.tags),
        )  # fmt: skip


_FUSED: dict[str, tuple[Gravity, str, str]] = {
    "subject": (
        "mend", "describe the subject",
        "They take what the trigger is to learn: MARUZEN proposes to remove them.",
    ),
    "clothes": (
        "look", "are clothes",
        "The subject will hardly be drawn without them; pictures in other clothes set them free.",
    ),
    "count": (
        "know", "say the class or the number",
        "As it should be; regularisation pictures keep these words from becoming the subject.",
    ),
    "other": (
        "look", "cannot be told from the trigger",
        "They come with it unasked: add pictures without them, or regularisation pictures with.",
    ),
}  # fmt: skip


def _kind(tag: str) -> str:
    found = shipped().of(tag)
    if found is None:
        return "other"
    if found.group in ("subject", "accessory"):
        return "subject"
    if found.group == "clothes" or found.name == "count":
        return found.group if found.group == "clothes" else "count"
    return "spread" if found.name in _SPREAD else "other"


def check_inseparable(audited: Audited) -> Iterator[Finding]:
    """Yields tags that always come together, though not everywhere."""
    table = audited.table
    for group in table.inseparable(least=_FEW):
        captions = table.with_any(group)
        yield Finding(
            "fused-tags", "look",
            f"captions have {_quoted(table, group)}, never one without the others",
            "Each of them will bring the others: add pictures that part them, or keep one tag of "
            "the group.",
            len(captions), table.total, audited.named(captions),
        )  # fmt: skip


def check_rare(audited: Audited) -> Iterator[Finding]:
    """Yields the tags that stand in one caption only."""
    table = audited.table
    once = [tag for tag in table.tags if table.count(tag) == 1]
    if once and table.total >= _FEW:
        yield Finding(
            "seen-once", "know", f"tags stand in one caption only: {_quoted(table, once)}",
            "Look for mistakes among them; what is right does no harm.",
            len(once), len(table.tags),
        )  # fmt: skip


def check_conflicts(audited: Audited) -> Iterator[Finding]:
    """Yields captions that say what cannot be true at once, and sets that show several looks."""
    table = audited.table
    for family in families():
        options = options_of(family, table)
        excused = table.bits(family.unless)
        found: defaultdict[int, list[str]] = defaultdict(list)
        for place, one in enumerate(options):
            for other in options[place + 1 :]:
                if both := one.captions & other.captions & ~excused:
                    pair = _quoted(table, (one.tags[0], other.tags[0]), " with ")
                    found[both].append(pair)
        if found:
            names = sorted({name for both in found for name in audited.named([*places(both)])})
            pairs = ", ".join(pair for each in found.values() for pair in each[:2])
            yield Finding(
                "conflict", "mend", f"captions say several {family.name}, such as {pairs}",
                "Look at the pictures and remove what is wrong: "
                f"{audited.command('edit', '--where', 'A and B', '--remove', 'B')}.",
                len(names), table.total, tuple(names),
            )  # fmt: skip
    for family, options in several_looks(table):
        said = ", ".join(f"'{table.shown(o.tags[0])}' in {o.count:,}" for o in options)
        yield Finding(
            "several-looks", "look", f"captions belong to several {family.name}: {said}",
            "Several characters or looks need a trigger and a folder each; of one character, the "
            "rarer one is a mistake.",
            sum(o.count for o in options[1:]), table.total, tuple(
                named(options[-1].captions, audited.names, most=4).split(", ")
            ),
        )  # fmt: skip


def check_spelling(audited: Audited) -> Iterator[Finding]:
    """Yields tags that are written in several ways."""
    table = audited.table
    forms: defaultdict[str, list[str]] = defaultdict(list)
    for tag in table.tags:
        forms[_stem(tag)] += table.spellings(tag)
    for spellings in forms.values():
        if len(spellings) == 1:
            continue
        counts = {s: sum(s in tags for tags in audited.lists.values()) for s in spellings}
        best, *others = sorted(spellings, key=lambda s: (-counts[s], s))
        words = [word for other in others for word in ("--replace", f"{other}={best}")]
        said = ", ".join(f"'{other}' ({counts[other]:,})" for other in others)
        bare = [n for n, tags in audited.lists.items() if {*tags} & {*others}]
        yield Finding(
            "spelt-twice", "mend", f"captions write {said} for '{best}' ({counts[best]:,})",
            f"{audited.command('edit', *words)}: two spellings are two things to the text encoder.",
            len(bare), table.total, tuple(sorted(bare)),
        )  # fmt: skip


def check_missed(audited: Audited) -> Iterator[Finding]:
    """Yields the captions that lack what nearly all others have."""
    table, word = audited.table, fold(audited.trigger.word)
    if table.total < _ENOUGH:
        return
    for tag in table.tags:
        known = shipped().of(tag)
        spread = known is not None and known.name in _SPREAD
        if tag == word or spread or not _NEARLY <= table.share(tag) < 1:
            continue
        names = audited.named(table.without(tag))
        yield Finding(
            "missed-tag", "look",
            f"captions lack '{table.shown(tag)}', which {table.count(tag):,} have",
            "Look at these pictures: the tagger missed it, or something hides it, or it is another "
            "subject.",
            len(names), table.total, names,
        )  # fmt: skip


def _quoted(table: TagTable, tags: Sequence[str], between: str = ", ") -> str:
    shown = between.join(f"'{table.shown(tag)}'" for tag in tags[:_SHOWN])
    more = f" and {len(tags) - _SHOWN} more" if len(tags) > _SHOWN else ""
    return shown + more


def _stem(tag: str) -> str:
    """Returns a folded tag in the singular, and in one of two spellings where English has two."""
    words = [_SAME.get(word, word) for word in tag.split()]
    last = words[-1] if words else ""
    if len(last) > _FEW and last.endswith("s") and not last.endswith("ss"):
        words[-1] = last.removesuffix("s")
    return " ".join(words)
