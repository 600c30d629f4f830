"""Rules about options for captions that change nothing as the captions stand."""

from __future__ import annotations

from collections.abc import Iterator

from renma.config.data import Subset
from renma.core.counted import counted
from renma.data.captions import moves, plain_caption, tags
from renma.data.item import Item
from renma.data.notes import shown
from renma.data.without_effect import CHOICE
from renma.train.rules._base import Facts, Rule, Said
from renma.train.rules._folders import by_subset, everything, says, subsets, where
from renma.train.trained import batches_per_step

_SHORTEST = 75
"""The smallest model.max_tokens."""
_SEPARATORS = {"|||": "keep_tokens_separator", ";;;": "secondary_separator"}
"""The marks that the help of these options, and most guides, name."""
_MARKS = frozenset("()[]\\")
"""What means something in weighted captions."""


def _needless_room(facts: Facts) -> Iterator[Said]:
    room, items = facts.tokens.room, everything(facts)
    if room <= _SHORTEST or any(item.subset.enable_wildcard for item in items):
        return  # one of several lines or words is chosen anew each time
    if all(facts.tokens.fits(plain_caption(item), _SHORTEST) for item in items):
        yield Said(
            f"model.max_tokens = {room} only adds padding: every caption fits into {_SHORTEST}",
            "Leave it out.",
            "model.max_tokens",
        )


def _needless_weights(facts: Facts) -> Iterator[Said]:
    if not facts.run.model.weighted_captions:
        return
    texts = (
        f"{i.subset.caption_prefix}{i.caption}{i.subset.caption_suffix}" for i in everything(facts)
    )
    if not any(_MARKS & set(text) for text in texts):
        yield Said(
            "model.weighted_captions has no effect: no caption has brackets",
            "Write (word:1.3) or [word] in captions, or leave it out; previews read brackets "
            "anyway.",
            "model.weighted_captions",
        )


def _dropout_never_comes(facts: Facts) -> Iterator[Said]:
    batches = facts.steps * batches_per_step(facts.run)
    for subset, _ in by_subset(facts, reg=True):
        every = subset.caption_dropout_every_n_epochs
        # the first epoch with empty captions begins behind all those before it; an epoch has at
        # least one batch, so a huge number needs no counting
        if every > batches or facts.order.batches_in(max(0, every - 1)) >= batches:
            yield Said(
                f"caption_dropout_every_n_epochs = {every} never comes for {where(subset)}: the "
                "run has fewer epochs",
                "Lower it, or leave it out.",
                "data.caption_dropout_every_n_epochs",
            )


def _idle_keep(facts: Facts) -> Iterator[Said]:
    for subset in subsets(facts):
        if subset.keep_tokens and not moves(subset):
            yield Said(
                f"keep_tokens has no effect in {where(subset)}: captions are not shuffled",
                "Set data.shuffle_caption = true, or leave it out.",
                "data.keep_tokens",
            )


def _idle_class(facts: Facts) -> Iterator[Said]:
    if not facts.run.data.datasets:
        return  # a class that the folder's own name tells is nobody's option
    for subset, items in by_subset(facts, held_out=True):
        chosen = subset.class_tokens and not subset.image_dir.endswith(f"_{subset.class_tokens}")
        if chosen and all(item.captioned for item in items):
            yield Said(
                f"class_tokens '{subset.class_tokens}' have no effect in {where(subset)}: every "
                "picture has a caption",
                "Leave class_tokens out, or use caption_prefix to put words before each caption.",
                "data.class_tokens",
            )


def _pushed_out(facts: Facts) -> Iterator[Said]:
    """A prefix takes the places in front that keep_tokens protects."""
    trigger = facts.run.output.trigger.strip()
    for subset, items in by_subset(facts):
        kept, prefix = subset.keep_tokens, subset.caption_prefix.strip()
        if not (trigger and prefix and kept and moves(subset)) or subset.keep_tokens_separator:
            continue
        rows = [tags(plain_caption(i), subset.caption_separator) for i in items]
        places = [next((n for n, t in enumerate(row, 1) if says(t, trigger)), 0) for row in rows]
        loose = [place for place in places if place > kept]
        before = len(tags(prefix, subset.caption_separator))
        if loose and max(loose) - before <= kept:  # without the prefix it would be kept
            yield Said(
                f"caption_prefix '{prefix}' pushes the trigger word '{trigger}' behind the "
                f"{counted(kept, 'tag')} that keep_tokens keeps in front in {where(subset)}",
                f"Set data.keep_tokens = {max(loose)}, or put the trigger first in caption_prefix.",
                "data.keep_tokens",
            )


def _marks_as_text(facts: Facts) -> Iterator[Said]:
    """Marks that only mean something where their option is on."""
    for subset, items in by_subset(facts, reg=True, held_out=True):
        texts = [f"{subset.caption_prefix} {i.caption} {subset.caption_suffix}" for i in items]
        known = {subset.keep_tokens_separator, subset.secondary_separator, subset.caption_separator}
        for mark, option in _SEPARATORS.items():
            holding = [i for i, text in zip(items, texts, strict=True) if mark in text]
            if holding and mark not in known:
                yield _literal(mark, holding, subset, option, f"'{mark}'")
        chosen = [i for i, t in zip(items, texts, strict=True) if CHOICE.search(t)]
        if chosen and not subset.enable_wildcard:
            yield _literal("{a|b}", chosen, subset, "enable_wildcard", "true")


def _literal(mark: str, items: list[Item], subset: Subset, option: str, value: str) -> Said:
    return Said(
        f"{counted(len(items), 'caption')} of {where(subset)} with {mark} in the text, such as "
        f"that of {shown(items[0].path.name)}: {option} is off, so the signs are trained as words",
        f"Set data.{option} = {value}, or take them out.",
        f"data.{option}",
    )


def _warm_up_too_long(facts: Facts) -> Iterator[Said]:
    for subset in subsets(facts):
        until = subset.token_warmup_step
        if until >= 1 and until > facts.steps:
            yield Said(
                f"token_warmup_step = {until:g} is longer than the run of "
                f"{counted(facts.steps, 'step')}: the last tags of {where(subset)} are never read",
                "A share such as 0.3 fits any length.",
                "data.token_warmup_step",
            )


RULES = (
    Rule(
        "needless-room",
        "warning",
        "model.max_tokens above 75 where no caption is that long.",
        "Padding is read like words: it costs time and memory and says nothing.",
        _needless_room,
    ),
    Rule(
        "needless-weights",
        "warning",
        "Weighted captions without brackets.",
        "Only brackets weigh.",
        _needless_weights,
    ),
    Rule(
        "dropout-never-comes",
        "warning",
        "Epochs with empty captions that the run is too short for.",
        "No caption is ever dropped.",
        _dropout_never_comes,
    ),
    Rule(
        "keep-tokens-idle",
        "warning",
        "keep_tokens where nothing moves.",
        "It only protects tags from shuffling, tag dropout and the token warm-up.",
        _idle_keep,
    ),
    Rule(
        "pushed-out-of-front",
        "warning",
        "A caption_prefix that takes the places of keep_tokens from the trigger word.",
        "Prefix tags count as tags; what stands behind those that are kept is moved and dropped.",
        _pushed_out,
    ),
    Rule(
        "marks-as-text",
        "warning",
        "Captions with |||, ;;; or {a|b} where the option that reads them is off.",
        "They are then read like any other sign, and the model learns them.",
        _marks_as_text,
    ),
    Rule(
        "class-tokens-idle",
        "warning",
        "class_tokens beside caption files.",
        "The class stands in for a missing caption; it is not added to one.",
        _idle_class,
    ),
    Rule(
        "token-warm-up",
        "warning",
        "A token warm-up longer than the run.",
        "Tags that come in after the last step are never read.",
        _warm_up_too_long,
    ),
)
