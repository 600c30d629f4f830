"""What can be wrong with the trigger word, and with the words of the class."""

from __future__ import annotations

import re
from collections.abc import Iterator

from renma.caption.assistant.categories import shipped
from renma.caption.assistant.findings import Audited, Finding
from renma.caption.tags import Tags, fold

_LONG = 6
"""From this many letters on, two typing mistakes may be in a word."""


def check_trigger(audited: Audited) -> Iterator[Finding]:
    """Yields what is odd about the trigger."""
    total = len(audited.captions)
    if not total:
        return
    word = audited.trigger.word
    if not word:
        yield Finding(
            "trigger-unknown", "look", "captions begin with no word that could be the trigger",
            f"Give --trigger WORD, or write one: {audited.command('prepend', 'WORD')}. A style of "
            "many pictures needs none.",
            total, total,
        )  # fmt: skip
        return
    yield from _absent(audited, word)
    yield from _misplaced(audited, word)
    if audited.found.moves:
        yield Finding(
            "trigger-shuffled", "mend", f"captions are shuffled with the trigger '{word}' in them",
            "Set keep_tokens = 1 in [data]: the first tag then stays in front.",
            total, total,
        )  # fmt: skip
    if found := shipped().of(word):
        yield Finding(
            "trigger-ordinary", "mend",
            f"trigger words are ordinary: '{word}' says {found.name}, which the base model knows",
            "Choose a word that means nothing yet, such as aa12: what the base model knows of an "
            "ordinary word mixes with the subject.",
            1, 1,
        )  # fmt: skip
    if inside := audited.reg.count(fold(word)):
        yield Finding(
            "trigger-in-regularisation", "mend",
            f"regularisation captions have the trigger '{word}'",
            "Remove it there: these pictures teach that the trigger means nothing special.",
            inside, audited.reg.total,
        )  # fmt: skip


def check_class(audited: Audited) -> Iterator[Finding]:
    """Yields what is odd about the words of the class, and pictures that say nothing."""
    found, total = audited.found, len(audited.captions) + len(audited.found.silent)
    words = found.class_tokens
    if found.silent and words:
        yield Finding(
            "caption-missing", "look", f"pictures have no caption, '{words}' stands in for it",
            "Whatever else is on them is learned with these words: "
            f"{audited.command('tag', '--on-existing', 'only-empty')} says it.",
            len(found.silent), total, found.silent,
        )  # fmt: skip
    elif found.silent:
        yield Finding(
            "caption-missing", "mend", "pictures have no caption",
            f"{audited.command('tag', '--on-existing', 'only-empty')} writes them.",
            len(found.silent), total, found.silent,
        )  # fmt: skip
    elif words and audited.captions and not found.reg:
        yield Finding(
            "class-tokens-unused", "know",
            f"pictures have a caption, so the class tokens '{words}' are used for none",
            "What they are to say must stand in the captions.",
            total, total,
        )  # fmt: skip
    yield from _class_word(audited)


def spelled_like(tag: str, word: str) -> bool:
    """Says whether a tag may be a mistyped word: a letter too many, missing, wrong or moved.

    Two mistakes are allowed from six letters on; blanks and hyphens are overlooked.
    """
    one, other = (re.sub(r"[\s\-]", "", fold(each)) for each in (tag, word))
    most = 2 if min(len(one), len(other)) >= _LONG else 1
    return min(len(one), len(other)) > most + 1 and _mistakes(one, other) <= most


def _absent(audited: Audited, word: str) -> Iterator[Finding]:
    total = len(audited.captions)
    near = [
        tag
        for tag in audited.table.tags
        if tag != fold(word) and spelled_like(tag, word) and not shipped().of(tag)
    ]
    for tag in near:
        shown = audited.table.shown(tag)
        names = audited.named(audited.table.with_any((tag,)))
        yield Finding(
            "trigger-misspelt", "mend", f"captions have '{shown}', perhaps '{word}' misspelt",
            f"{audited.command('edit', '--replace', f'{shown}={word}')}, then see that it stands "
            "first.",
            len(names), total, names,
        )  # fmt: skip
    bare = tuple(sorted(n for n, tags in audited.captions.items() if not _has(tags, word)))
    if bare:
        yield Finding(
            "trigger-missing", "mend", f"captions lack the trigger '{word}'",
            f"{audited.command('prepend', word)} puts it first everywhere.",
            len(bare), total, bare,
        )  # fmt: skip


def _misplaced(audited: Audited, word: str) -> Iterator[Finding]:
    total, later, twice = len(audited.captions), [], []
    for name, tags in audited.captions.items():
        own = [place for place, tag in enumerate(tags) if fold(tag) == fold(word)]
        if own and any(place == own[0] for place in range(1, len(tags))):
            later.append(name)
        lines = len(audited.found.lines[name])
        if len(own) > lines:
            twice.append(name)
    if later:
        yield Finding(
            "trigger-not-first", "mend", f"captions have the trigger '{word}' behind other tags",
            f"{audited.command('prepend', word)} moves it to the front, where it weighs most and "
            "where keep_tokens protects it.",
            len(later), total, tuple(sorted(later)),
        )  # fmt: skip
    if twice:
        yield Finding(
            "trigger-twice", "look", f"captions have the trigger '{word}' more than once",
            f"{audited.command('edit', '--dedupe')} keeps the first.",
            len(twice), total, tuple(sorted(twice)),
        )  # fmt: skip


def _class_word(audited: Audited) -> Iterator[Finding]:
    """Yields words that all regularisation captions have and training captions lack."""
    total = audited.table.total
    for tag in audited.reg.tags:
        known = shipped().of(tag)
        if audited.reg.share(tag) < 1 or not known or known.name != "count":
            continue
        if bare := audited.table.without(tag):
            names = audited.named(bare)
            yield Finding(
                "class-word-missing", "look",
                f"captions lack '{audited.reg.shown(tag)}', the class that every regularisation "
                "picture shows",
                "Both must say it, else these pictures hold nothing apart: "
                f"{audited.command('edit', '--add', audited.reg.shown(tag), '--at', '2')}.",
                len(names), total, names,
            )  # fmt: skip


def _has(tags: Tags, word: str) -> bool:
    """Says whether a caption has a word: as a tag, or inside a sentence."""
    whole = re.compile(rf"(?<!\w){re.escape(fold(word))}(?!\w)")
    return any(whole.search(fold(tag)) for tag in tags)


def _mistakes(one: str, other: str) -> int:
    """Returns how many letters must be added, taken, changed or swapped with their neighbour."""
    before, row = list[int](), list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        older, before, row = before, row, [i]
        for j, wanted in enumerate(other, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != wanted))
            swapped = i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == wanted
            row.append(min(cost, older[j - 2] + 1) if swapped else cost)
    return row[-1]
