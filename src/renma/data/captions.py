"""Captions: what stands in the file, and what one showing of a picture says.

Order of operations as in kohya-ss/sd-scripts; every draw is keyed by (seed, epoch, position), so
no two showings share a shuffle by accident and none depends on workers.
"""

from __future__ import annotations

from renma.config.data import Subset
from renma.core import keyed
from renma.data.item import Item


def tags(caption: str, separator: str = ",") -> list[str]:
    """Returns the non-empty tags of a caption, without blanks around them."""
    return [tag for part in caption.split(separator) if (tag := part.strip())]


def is_random(subset: Subset) -> bool:
    """Says whether the captions of a folder differ between showings."""
    return bool(
        subset.shuffle_caption
        or subset.caption_dropout_rate
        or subset.caption_dropout_every_n_epochs
        or subset.caption_tag_dropout_rate
    )


def shown_caption(item: Item, seed: int, epoch: int, position: int) -> str:
    """Returns the caption of one showing.

    Prefix and suffix; whole-caption dropout; then, if tags move at all, the first ``keep_tokens``
    stay in front while the others are shuffled and dropped.

    Args:
        item: the picture.
        seed: the run's seed.
        epoch: 0-based.
        position: running number of the showing in its epoch.
    """
    subset = item.subset
    caption = " ".join(
        part for part in (subset.caption_prefix, item.caption, subset.caption_suffix) if part
    )
    random = keyed.rng(seed, "caption", epoch, position)
    every = subset.caption_dropout_every_n_epochs
    dropped = random.random() < subset.caption_dropout_rate
    if dropped or (every and (epoch + 1) % every == 0):
        return ""
    if not (subset.shuffle_caption or subset.caption_tag_dropout_rate):
        return caption
    found = tags(caption, subset.caption_separator)
    head, rest = found[: subset.keep_tokens], found[subset.keep_tokens :]
    if subset.shuffle_caption:
        random.shuffle(rest)
    rest = [tag for tag in rest if random.random() >= subset.caption_tag_dropout_rate]
    return f"{subset.caption_separator} ".join([*head, *rest])
