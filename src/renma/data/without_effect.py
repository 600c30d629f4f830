"""Options of data sets that change nothing as the pictures and captions stand."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from renma.config.data import Dataset, Subset
from renma.core.counted import counted
from renma.core.errors import UserError
from renma.data.augment import face_of, largest_angle
from renma.data.buckets import fit
from renma.data.item import Item, by_subset
from renma.data.notes import Notes

CHOICE = re.compile(r"\{[^{}]*\|[^{}]*\}")
"""One of several words, as `enable_wildcard` reads it."""


def note_without_effect(dataset: Dataset, items: Sequence[Item], notes: Notes) -> None:
    """Names every option without effect, with the folder it was given for.

    Args:
        dataset: the data set, all options resolved.
        items: its pictures.
        notes: told each of them.
    """
    if dataset.validation_seed and not dataset.validation_split:
        notes.add("validation_seed has no effect: validation_split is 0.")
    if dataset.validation_split and len({item.digest for item in items if _trains(item)}) < 2:
        notes.add("validation_split has no effect: there is only one picture to train on.")
    grouped = by_subset(items)
    for subset in dataset.subsets:
        own = grouped.get(id(subset))
        if not own:
            continue
        place = Path(subset.metadata_file or subset.image_dir)
        for text in (*_captions(subset, own), *_pixels(dataset, subset, own)):
            notes.add(text, place)


def _captions(subset: Subset, items: Sequence[Item]) -> Iterator[str]:
    texts = [f"{subset.caption_prefix} {i.caption} {subset.caption_suffix}" for i in items]
    for name in ("keep_tokens_separator", "secondary_separator"):
        mark = getattr(subset, name)
        if mark and not any(mark in text for text in texts):
            yield f"{name} has no effect, no caption holds '{mark}'"
    varied = any("\n" in i.caption for i in items) or any(map(CHOICE.search, texts))
    if subset.enable_wildcard and not varied:
        yield "enable_wildcard has no effect, no caption has several lines or {a|b}"
    if subset.token_warmup_min != 1 and not subset.token_warmup_step:
        yield "token_warmup_min has no effect, token_warmup_step is 0"


def _pixels(dataset: Dataset, subset: Subset, items: Sequence[Item]) -> Iterator[str]:
    if subset.face_crop_aug_range:
        if dataset.enable_bucket:
            yield "face_crop_aug_range has no effect, enable_bucket is true"
        elif not any(face_of(item.path) for item in items):
            yield "face_crop_aug_range has no effect, no file name ends in _cx_cy_w_h"
    if subset.alpha_mask and subset.mask_dir:
        yield "alpha_mask has no effect, the masks of mask_dir decide"
    elif subset.alpha_mask and not any(item.transparent for item in items):
        yield "alpha_mask has no effect, no picture is transparent"
    if subset.rotate_degrees:
        small = [item for item in items if _too_small(item, dataset)]
        if small:
            many = counted(len(small), "small picture")
            yield f"rotate_degrees turns {many} less than asked"


def _too_small(item: Item, dataset: Dataset) -> bool:
    try:
        found = fit(item.width, item.height, dataset)
    except UserError:
        return False  # told where its bucket is chosen
    widest = largest_angle(item, found.resized, (found.width, found.height))
    return widest < item.subset.rotate_degrees


def _trains(item: Item) -> bool:
    return not item.subset.is_reg
