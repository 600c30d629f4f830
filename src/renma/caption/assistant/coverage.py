"""What captions say as a whole: the same of nearly all pictures, nothing at all, or too much."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator

from renma.caption.assistant.categories import shipped
from renma.caption.assistant.findings import Audited, Finding
from renma.caption.tags import fold
from renma.core.counted import counted
from renma.formats.clip_tokens import ROOM, ClipTokens, rows_for

_MOSTLY = 0.8
_ENOUGH = 5
"""With fewer captions, it is no wonder that all say the same."""
_WEIGHT = re.compile(r"[(\[{][^()\[\]{}]+:\d*\.?\d+[)\]}]|\(\([^()]+\)\)|<[a-z]+:[^>]+>", re.I)
_UNWEIGHT = ("--search", r"\(([^():]+):[0-9.]+\)", "--with", r"\1")
_ROWS = 3
"""Rows of tokens that training can read of a caption."""
_ADVICE = {
    "background": "Vary the backgrounds, or cut closer so that little of them is left "
    "(`renma prepare crop`, `renma prepare background`).",
    "framing": "Add pictures that show more, or less, of the subject.",
    "gaze": "Add pictures that look elsewhere.",
    "expression": "Add other expressions.",
    "pose": "Add other poses, or crop closer so that the pose is not seen.",
}
"""What should differ between pictures, and what to do where it does not."""


def check_coverage(audited: Audited) -> Iterator[Finding]:
    """Yields what is the same in nearly all pictures though it should differ."""
    table = audited.table
    if table.total < _ENOUGH:
        return
    kinds: defaultdict[str, list[str]] = defaultdict(list)
    for tag in table.tags:
        if found := shipped().of(tag):
            kinds[found.name].append(tag)
    for kind, advice in _ADVICE.items():
        often = [
            tag for tag in kinds[kind] if table.share(tag) >= _MOSTLY and not audited.reg.count(tag)
        ]
        for tag in often:
            yield Finding(
                f"one-{kind}", "look",
                f"captions say '{table.shown(tag)}': the trigger learns it, too",
                advice, table.count(tag), table.total,
            )  # fmt: skip
    if not kinds["background"]:
        yield Finding(
            "no-background", "look", "captions say nothing of the background",
            "What no caption says is learned as part of the subject: tag the pictures "
            "(`renma caption tag --on-existing append`).",
            table.total, table.total,
        )  # fmt: skip


def check_length(audited: Audited) -> Iterator[Finding]:
    """Yields captions of which training does not read the end."""
    tokens = ClipTokens.shipped()
    longest = {
        name: max(tokens.count(line, weighted=audited.weighted) for line in lines)
        for name, lines in audited.found.lines.items()
        if lines
    }
    over = {name: tokens for name, tokens in longest.items() if tokens > audited.tokens}
    if not over:
        return
    most, rows = max(over.values()), min(_ROWS, rows_for(max(over.values())))
    enough = f"max_tokens = {rows * ROOM} in [model] reads {rows * ROOM} of them, or "
    cut = audited.command("edit", "--truncate-tokens", str(audited.tokens))
    yield Finding(
        "too-long", "mend",
        f"captions have more than {audited.tokens} CLIP tokens (up to {most}); "
        "the rest is not read",
        f"{enough if rows * ROOM > audited.tokens else ''}{cut} drops their last tags.",
        len(over), len(longest), tuple(sorted(over)),
    )  # fmt: skip


def check_equal(audited: Audited) -> Iterator[Finding]:
    """Yields captions that several pictures share."""
    groups: defaultdict[frozenset[str], list[str]] = defaultdict(list)
    for name, tags in audited.captions.items():
        groups[frozenset(map(fold, tags))].append(name)
    shared = sorted((names for names in groups.values() if len(names) > 1), key=len, reverse=True)
    if shared and len(audited.captions) >= _ENOUGH:
        names = tuple(sorted(name for each in shared for name in each))
        yield Finding(
            "equal-captions", "look",
            f"captions are not the only ones to say just that (the largest group has "
            f"{counted(len(shared[0]), 'picture')})",
            "Say what differs between these pictures: what no caption tells apart is learned as "
            "one.",
            len(names), len(audited.captions), names,
        )  # fmt: skip


def check_writing(audited: Audited) -> Iterator[Finding]:
    """Yields captions in sentences, tags said twice, and weights."""
    total = len(audited.captions)
    if audited.sentences and audited.lists:
        yield Finding(
            "sentences", "look", "captions are sentences, the others lists of tags",
            "Training takes both, but shuffling and tag dropout cut sentences at their commas. "
            "What follows is about the lists.",
            len(audited.sentences), total, tuple(sorted(audited.sentences)),
        )  # fmt: skip
    elif audited.sentences:
        yield Finding(
            "sentences", "know", "captions are sentences, so no tags are counted",
            "Leave shuffle_caption and caption_tag_dropout_rate off: they cut at commas.",
            total, total,
        )  # fmt: skip
    word = fold(audited.trigger.word)
    double = sorted(
        name
        for name, tags in audited.lists.items()
        if len(audited.found.lines[name]) == 1
        and len(rest := [fold(tag) for tag in tags if fold(tag) != word]) > len({*rest})
    )
    if double:
        yield Finding(
            "tag-twice", "look", "captions say a tag twice",
            f"{audited.command('edit', '--dedupe')} keeps the first.",
            len(double), total, tuple(double),
        )  # fmt: skip
    weighted = sorted(
        name for name, tags in audited.captions.items() if any(map(_WEIGHT.search, tags))
    )
    if weighted and not audited.weighted:
        yield Finding(
            "weights", "mend", "captions have weights such as (smile:1.2) or <lora:...>",
            "Training reads them as letters unless [model] weighted_captions is on; remove them: "
            f"{audited.command('edit', *_UNWEIGHT)}.",
            len(weighted), total, tuple(weighted),
        )  # fmt: skip
