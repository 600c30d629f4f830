"""Rules about options for captions that change nothing as the captions stand."""

from __future__ import annotations

from collections.abc import Iterator

from renma.data.captions import plain_caption
from renma.train.rules._base import Facts, Rule, Said
from renma.train.rules._folders import by_subset, everything, subsets, where
from renma.train.trained import batches_per_step

_SHORTEST = 75
"""The smallest model.max_tokens."""
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
        moves = (
            subset.shuffle_caption or subset.caption_tag_dropout_rate or subset.token_warmup_step
        )
        if subset.keep_tokens and not moves:
            yield Said(
                f"keep_tokens has no effect in {where(subset)}: captions are not shuffled",
                "Set data.shuffle_caption = true, or leave it out.",
                "data.keep_tokens",
            )


def _idle_class(facts: Facts) -> Iterator[Said]:
    if not facts.run.data.datasets:
        return  # a class that the folder's own name tells is nobody's option
    for subset, items in by_subset(facts):
        chosen = subset.class_tokens and not subset.image_dir.endswith(f"_{subset.class_tokens}")
        if chosen and all(item.captioned for item in items):
            yield Said(
                f"class_tokens '{subset.class_tokens}' have no effect in {where(subset)}: every "
                "picture has a caption",
                "Leave class_tokens out, or use caption_prefix to put words before each caption.",
                "data.class_tokens",
            )


def _warm_up_too_long(facts: Facts) -> Iterator[Said]:
    for subset in subsets(facts):
        until = subset.token_warmup_step
        if until >= 1 and until > facts.steps:
            yield Said(
                f"token_warmup_step = {until:g} is longer than the {facts.steps} steps: the last "
                f"tags of {where(subset)} are never read",
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
