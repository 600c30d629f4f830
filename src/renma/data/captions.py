"""Captions: what stands in the file, and what one showing of a picture says.

Order of operations as in kohya-ss/sd-scripts; every draw is keyed by (seed, epoch, position), so
no two showings share a shuffle by accident and none depends on workers. Mended on purpose: every
line of a wildcard caption gets prefix and suffix (there the first line only), shuffled tags are
joined with the separator they were split at (there always a comma), empty tags are left out when
tags move, and a ``keep_tokens_separator`` never stays in the text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random

from renma.config.data import Subset
from renma.core import keyed
from renma.data.item import Item

_BRACES = re.compile(r"\{\{|\}\}|\{([^{}]+)\}")
_PLAIN = {"{{": "{", "}}": "}"}
_NO_DROPOUT = {"caption_dropout_rate": 0.0, "caption_dropout_every_n_epochs": 0}


def tags(caption: str, separator: str = ",") -> list[str]:
    """Returns the non-empty tags of a caption, without blanks around them."""
    return [tag for part in caption.split(separator) if (tag := part.strip())]


def is_random(subset: Subset) -> bool:
    """Says whether the captions of a folder may differ between showings."""
    return bool(
        subset.shuffle_caption
        or subset.caption_dropout_rate
        or subset.caption_dropout_every_n_epochs
        or subset.caption_tag_dropout_rate
        or subset.token_warmup_step
        or subset.enable_wildcard
    )


def shown_caption(
    item: Item, seed: int, epoch: int, position: int, step: int = 0, steps: int = 1
) -> str:
    """Returns the caption of one showing.

    Whole-caption dropout first; then one line of several, prefix and suffix, one part of each
    ``{a|b|c}``; then, if tags move at all, the first ``keep_tokens`` stay in front while the others
    are cut by the warm-up, shuffled and dropped; last the secondary separator.

    Args:
        item: the picture.
        seed: the run's seed.
        epoch: 0-based.
        position: running number of the showing in its epoch.
        step: optimizer steps done, for the token warm-up.
        steps: optimizer steps of the whole run.
    """
    subset = item.subset
    random = keyed.rng(seed, "caption", epoch, position)
    every = subset.caption_dropout_every_n_epochs
    dropped = random.random() < subset.caption_dropout_rate
    if dropped or (every and (epoch + 1) % every == 0):
        return ""
    chance = keyed.rng(seed, "wildcard", epoch, position)
    caption = _worded(item, chance.choice)
    if not moves(subset) and not _marked(caption, subset):
        return _bound(caption, subset)
    head, flexible, tail = _parts(caption, subset)
    flexible = _warmed(flexible, subset, step, steps)
    if subset.shuffle_caption:
        random.shuffle(flexible)
    flexible = _kept(flexible, subset.caption_tag_dropout_rate, random)
    return _joined([*head, *flexible, *tail], subset)


def plain_caption(item: Item) -> str:
    """Returns the caption without anything random: first line, first parts, every tag in place."""
    caption = _worded(item, lambda parts: parts[0])
    if not _marked(caption, item.subset):
        return _bound(caption, item.subset)
    head, flexible, tail = _parts(caption, item.subset)
    return _joined([*head, *flexible, *tail], item.subset)


def variants(item: Item) -> list[str] | None:
    """Returns every caption that the showings of a picture can have, or None if they are many."""
    subset = item.subset
    if subset.token_warmup_step or subset.caption_tag_dropout_rate:
        return None
    choices = any("|" in (m[1] or "") for m in _BRACES.finditer(_text(item, item.caption)))
    if subset.enable_wildcard and (choices or "\n" in item.caption):
        return None
    if subset.shuffle_caption and len(_parts(_text(item, item.caption), subset)[1]) > 1:
        return None
    kept = replace(item, subset=subset.model_copy(update=_NO_DROPOUT))
    return list(dict.fromkeys([shown_caption(kept, 0, 0, 0), *([""] if _drops(subset) else [])]))


def _drops(subset: Subset) -> bool:
    return bool(subset.caption_dropout_rate or subset.caption_dropout_every_n_epochs)


def moves(subset: Subset) -> bool:
    """Says whether tags are handled one by one; else the text is left as it is written."""
    return bool(
        subset.shuffle_caption or subset.caption_tag_dropout_rate or subset.token_warmup_step
    )


def _marked(caption: str, subset: Subset) -> bool:
    return bool(subset.keep_tokens_separator) and subset.keep_tokens_separator in caption


def _text(item: Item, line: str) -> str:
    """Returns a line with prefix and suffix."""
    subset = item.subset
    return " ".join(part for part in (subset.caption_prefix, line, subset.caption_suffix) if part)


def _worded(item: Item, choose: Callable[[Sequence[str]], str]) -> str:
    """Returns the words of a showing: one line, prefix and suffix, one part of each choice."""
    lines = item.caption.split("\n")
    if not item.subset.enable_wildcard:
        return _text(item, lines[0])
    line = choose(lines) if len(lines) > 1 else lines[0]

    def chosen(match: re.Match[str]) -> str:
        return _PLAIN[match[0]] if match[1] is None else choose(match[1].split("|"))

    return _BRACES.sub(chosen, _text(item, line))


def _parts(caption: str, subset: Subset) -> tuple[list[str], list[str], list[str]]:
    """Returns the tags that stay in front, those that move, and those that stay at the end."""
    if _marked(caption, subset):
        parts = caption.split(subset.keep_tokens_separator, 2)
        head, flexible, *tail = [tags(part, subset.caption_separator) for part in parts]
        return head, flexible, tail[0] if tail else []
    found = tags(caption, subset.caption_separator)
    return found[: subset.keep_tokens], found[subset.keep_tokens :], []


def _warmed(flexible: list[str], subset: Subset, step: int, steps: int) -> list[str]:
    """Returns the first tags, more of them the further the run is."""
    until = subset.token_warmup_step
    if 0 < until < 1:
        until = int(until * steps)
    if step >= until:
        return flexible
    least = subset.token_warmup_min
    count = math.floor(step * (len(flexible) - least) / until) + least
    return flexible[:count]


def _kept(flexible: list[str], rate: float, random: Random) -> list[str]:
    return [tag for tag in flexible if random.random() >= rate]


def _joined(found: Sequence[str], subset: Subset) -> str:
    separator = subset.caption_separator
    between = separator if separator.isspace() else f"{separator.rstrip()} "
    return _bound(between.join(found), subset)


def _bound(caption: str, subset: Subset) -> str:
    """Turns the mark that binds tags into the separator."""
    if not subset.secondary_separator:
        return caption
    return caption.replace(subset.secondary_separator, subset.caption_separator)
