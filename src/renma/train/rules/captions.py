"""Rules about captions: length, the trigger word, tags that stay in front, what is dropped."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import takewhile

from renma.config.data import Subset
from renma.core.counted import counted
from renma.data.captions import plain_caption, tags
from renma.data.item import Item
from renma.data.notes import shown
from renma.train.rules._base import Facts, Rule, Said, some
from renma.train.rules._folders import by_subset, says, subsets, where

_LEAST = 3
"""From fewer pictures nothing is concluded."""
_ENDINGS = (".txt", ".caption", ".cap")
_SIDES = re.compile(
    r"\b(left|right|asymmetric\w*|heterochromia|eyepatch|one eye covered|side ponytail"
    r"|one side up|single (?:glove|sleeve|shoe)|mole under (?:eye|mouth)|scar (?:on|across)"
    r"|text|logo|number print)\b|[左右]|片目|眼帯|オッドアイ"
)


def _too_long(facts: Facts) -> Iterator[Said]:
    room = facts.tokens.room
    items = (*facts.trained, *facts.reg)
    long = [item for item in items if not facts.tokens.fits(plain_caption(item))]
    if long:
        numbers = {i.path: facts.tokens.count(plain_caption(i)) for i in long}
        worst = max(long, key=lambda item: numbers[item.path])
        more = next((n for n in (150, 225) if n > room and n >= numbers[worst.path]), 225)
        raised = f"Set model.max_tokens = {more}, or shorten them." if room < 225 else "Shorten it."
        yield Said(
            f"{counted(len(long), 'caption')} longer than the {room} tokens that are read; the "
            f"longest, of {_name(worst)}, has {numbers[worst.path]}",
            raised,
            "model.max_tokens",
        )


def _all_empty(facts: Facts) -> Iterator[Said]:
    for subset in subsets(facts):
        place = where(subset)
        always = subset.caption_dropout_rate == 1 or subset.caption_dropout_every_n_epochs == 1
        if always:
            name = "rate" if subset.caption_dropout_rate == 1 else "every_n_epochs"
            yield Said(
                f"caption_dropout_{name} = 1 empties every caption of {place}",
                "About 0.1 is usual; leave it out to keep captions.",
                f"data.caption_dropout_{name}",
            )
        if subset.caption_tag_dropout_rate == 1:
            yield Said(
                f"caption_tag_dropout_rate = 1 drops every tag of {place} but those of keep_tokens",
                "About 0.1 is usual.",
                "data.caption_tag_dropout_rate",
            )


def _no_words(facts: Facts) -> Iterator[Said]:
    items = facts.trained
    if items and not any(plain_caption(item) for item in items):
        yield Said(
            "no training picture has any words",
            "Write captions, name the folder like '10_aa12 person', or set data.class_tokens.",
            "data.class_tokens",
        )


def _another_ending(facts: Facts) -> Iterator[Said]:
    for subset, items in by_subset(facts):
        if subset.metadata_file or any(item.captioned for item in items):
            continue  # the scan names single pictures without caption
        for ending in _ENDINGS:
            beside = sum(item.path.with_suffix(ending).exists() for item in items)
            if ending != subset.caption_extension and beside and subset.class_tokens:
                yield Said(
                    f"{counted(beside, 'caption')} not read in {where(subset)}: the files end in "
                    f"{ending}, and caption_extension is {subset.caption_extension}; "
                    f"'{subset.class_tokens}' is used for every picture",
                    f"Set data.caption_extension = '{ending}'.",
                    "data.caption_extension",
                )


def _trigger_missing(facts: Facts) -> Iterator[Said]:
    trigger = facts.run.output.trigger.strip()
    if not trigger:
        return
    without = [i for i in facts.trained if not says(plain_caption(i), trigger)]
    if without and len(without) < len(facts.trained):
        yield Said(
            f"the trigger word '{trigger}' is missing in {len(without)} of {len(facts.trained)} "
            f"captions: {some([_name(i) for i in without])}",
            "Put it in front of each, or set data.caption_prefix.",
            "output.trigger",
        )
    elif without:
        yield Said(
            f"no caption has the trigger word '{trigger}'",
            f"Set data.caption_prefix = '{trigger},', or output.trigger to the word they have.",
            "output.trigger",
        )


def _trigger_in_reg(facts: Facts) -> Iterator[Said]:
    trigger = facts.run.output.trigger.strip()
    taught = [i for i in facts.reg if trigger and says(plain_caption(i), trigger)]
    if taught:
        yield Said(
            f"the trigger word '{trigger}' in captions of "
            f"{counted(len(taught), 'regularisation picture')}: {some([_name(i) for i in taught])}",
            "Leave it out there.",
            "data.reg_folder",
        )


def _trigger_is_a_word(facts: Facts) -> Iterator[Said]:
    trigger = facts.run.output.trigger.strip()
    if not trigger or facts.is_toy or not trigger.isascii() or not trigger.isalpha():
        return
    if len(facts.tokens.words(trigger)) == 1:
        yield Said(
            f"the trigger '{trigger}' is one word that the model knows already",
            "A word it does not know, such as 'aa12', carries only what you teach it.",
            "output.trigger",
        )


def _first_tag_moves(facts: Facts) -> Iterator[Said]:
    for subset, items in by_subset(facts):
        if not subset.shuffle_caption or subset.keep_tokens_separator:
            continue
        same = _constant(items, subset)
        if same and subset.keep_tokens == 0:
            yield Said(
                f"every caption in {where(subset)} begins with '{same[0]}', and shuffling moves "
                "it away from the front",
                "Set data.keep_tokens = 1.",
                "data.keep_tokens",
            )


def _all_tags_kept(facts: Facts) -> Iterator[Said]:
    for subset, items in by_subset(facts):
        kept = subset.keep_tokens
        most = max(len(tags(plain_caption(i), subset.caption_separator)) for i in items)
        if subset.shuffle_caption and kept > 1 and 0 < most <= kept:
            yield Said(
                f"keep_tokens = {kept} keeps every tag of {where(subset)} in its place, so "
                "shuffle_caption has no effect",
                "keep_tokens counts tags; 1 keeps the trigger word.",
                "data.keep_tokens",
            )


def _sides(facts: Facts) -> Iterator[Said]:
    found = [
        (item, match[0])
        for item in facts.trained
        if item.subset.flip_aug and (match := _SIDES.search(item.caption.lower()))
    ]
    if found:
        named = [f"{_name(item)} ({word})" for item, word in found]
        yield Said(
            f"flip_aug mirrors {counted(len(found), 'picture')} with words for a side, or for what "
            f"is not symmetric: {some(named)}",
            "Set data.flip_aug = false, or take those words out.",
            "data.flip_aug",
        )


def _colours(facts: Facts) -> Iterator[Said]:
    if any(item.subset.color_aug for item in facts.trained):
        yield Said(
            "color_aug changes hue and brightness in a third of the showings, and latents are "
            "computed anew each time",
            "Leave it out where colours matter, as in a style or a character's eyes.",
            "data.color_aug",
        )


def _constant(items: list[Item], subset: Subset) -> list[str]:
    """Returns the tags that all captions begin with."""
    rows = [tags(plain_caption(i), subset.caption_separator) for i in items]
    if len(rows) < _LEAST or any(len(row) < 2 for row in rows):
        return []
    alike = takewhile(lambda column: len(set(column)) == 1, zip(*rows, strict=False))
    return [column[0] for column in alike]


def _name(item: Item) -> str:
    return shown(item.path.name)


RULES = (
    Rule(
        "long-captions",
        "warning",
        "Captions with more tokens than are read.",
        "What stands behind the limit is cut off without a trace.",
        _too_long,
    ),
    Rule(
        "captions-dropped",
        "warning",
        "Dropout that leaves nothing of a caption.",
        "Words that are never shown are never learnt.",
        _all_empty,
    ),
    Rule(
        "no-words",
        "warning",
        "No training picture with a caption or class.",
        "Without words nothing can call the subject up later.",
        _no_words,
    ),
    Rule(
        "another-ending",
        "warning",
        "Caption files with another ending than caption_extension.",
        "sd-scripts looks for .caption by default, and most taggers write .txt.",
        _another_ending,
    ),
    Rule(
        "trigger-missing",
        "warning",
        "The trigger word in every caption.",
        "Pictures without the trigger teach the subject to everything else.",
        _trigger_missing,
    ),
    Rule(
        "trigger-in-regularisation",
        "warning",
        "The trigger word in captions of regularisation pictures.",
        "There it teaches that the trigger means the class, against the training pictures.",
        _trigger_in_reg,
    ),
    Rule(
        "trigger-is-a-word",
        "note",
        "A trigger that is a single token of the model's vocabulary.",
        "What the word meant before mixes with what is taught.",
        _trigger_is_a_word,
    ),
    Rule(
        "first-tag-moves",
        "warning",
        "Shuffled captions that all begin with the same tag, which is not kept in front.",
        "The text encoder weighs the first words most; a trigger is learnt best there.",
        _first_tag_moves,
    ),
    Rule(
        "all-tags-kept",
        "warning",
        "keep_tokens as large as the captions.",
        "It counts tags, not CLIP tokens.",
        _all_tags_kept,
    ),
    Rule(
        "mirrored-sides",
        "warning",
        "flip_aug with captions that tell sides apart.",
        "In a mirrored picture left is right, letters are reversed and a parting changes sides.",
        _sides,
    ),
    Rule(
        "changed-colours",
        "note",
        "color_aug.",
        "Colours that change are not learnt.",
        _colours,
    ),
)
