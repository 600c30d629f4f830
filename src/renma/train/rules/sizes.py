"""Rules about sizes: what the model was made for, bucket limits, options without effect."""

from __future__ import annotations

import math
from collections.abc import Iterator

from renma.config.data import Dataset, DatasetOptions
from renma.core.counted import counted, idle
from renma.core.errors import UserError
from renma.data.buckets import fit
from renma.data.notes import shown
from renma.train.rules._base import Facts, Rule, Said

_SMALL, _LARGE = 0.6, 1.6
"""Sides relative to the model's own at which it draws badly."""
_LOST = 0.85
_LIMITS = ("min_bucket_reso", "max_bucket_reso", "bucket_no_upscale")


def _far_from_native(facts: Facts) -> Iterator[Said]:
    if facts.is_toy:
        return
    native = facts.model.native_size
    for width, height in sorted({s.dataset.resolution for s in facts.scan.sets}):
        share = math.sqrt(width * height) / native
        if not _SMALL <= share <= _LARGE:
            far = "smaller" if share < 1 else "larger"
            yield Said(
                f"resolution {width}x{height} is much {far} than the {native}x{native} that this "
                "model was made for",
                f"Use about {native}" + ("." if share < 1 else ", or at most half more."),
                "data.resolution",
            )


def _bucket_limit(facts: Facts) -> Iterator[Said]:
    for scanned, fits in zip(facts.order.sets, facts.order.fits, strict=True):
        dataset = scanned.dataset
        if not dataset.enable_bucket or dataset.bucket_no_upscale:
            continue
        area, limit = dataset.resolution[0] * dataset.resolution[1], dataset.max_bucket_reso
        wide = dataset.model_copy(update={"max_bucket_reso": 4 * max(*dataset.resolution, limit)})
        lost = [
            item
            for item, found in zip(scanned.items, fits, strict=True)
            if found.width * found.height < _LOST * area
            and max(found.width, found.height) >= limit - dataset.bucket_reso_steps
            and _grows(item.width, item.height, wide, found.width * found.height)
        ]
        if lost:
            needed = 2 * max(dataset.resolution)
            yield Said(
                f"max_bucket_reso = {limit} makes {counted(len(lost), 'picture')} smaller than the "
                f"resolution asks for, such as {shown(lost[0].path.name)}",
                f"Set data.max_bucket_reso = {needed}.",
                "data.max_bucket_reso",
            )


def _grows(width: int, height: int, dataset: Dataset, area: int) -> bool:
    try:
        found = fit(width, height, dataset)
    except UserError:
        return False
    return found.width * found.height > 1.05 * area


def _idle_limits(facts: Facts) -> Iterator[Said]:
    for scanned in facts.scan.sets:
        dataset = scanned.dataset
        given = dataset.model_fields_set & set(_LIMITS)
        fields = DatasetOptions.model_fields
        changed = sorted(n for n in given if getattr(dataset, n) != fields[n].default)
        limits = [name for name in changed if name != "bucket_no_upscale"]
        if limits and dataset.enable_bucket and dataset.bucket_no_upscale:
            yield Said(
                f"{idle(limits)}: bucket_no_upscale is true",
                "Leave them out, or set data.bucket_no_upscale = false.",
                f"data.{limits[0]}",
            )
        if changed and not dataset.enable_bucket:
            yield Said(
                f"{idle(changed)}: enable_bucket is false",
                "Set data.enable_bucket = true, or leave them out.",
                f"data.{changed[0]}",
            )


def _not_bucketed(facts: Facts) -> Iterator[Said]:
    for scanned, fits in zip(facts.order.sets, facts.order.fits, strict=True):
        if scanned.dataset.enable_bucket:
            continue
        cut = sum(found.cropped_away > 0.2 for found in fits)
        if cut > len(fits) / 2:
            yield Said(
                f"{cut} of {counted(len(fits), 'picture')} lose more than a fifth to the one size "
                "that all are cropped to",
                "Set data.enable_bucket = true.",
                "data.enable_bucket",
            )


RULES = (
    Rule(
        "far-from-native",
        "warning",
        "A resolution far from the model's own.",
        "SDXL at 512 or SD 1.x at 1024 draws doubled heads and cut-off bodies, and learns them.",
        _far_from_native,
    ),
    Rule(
        "bucket-limit",
        "warning",
        "max_bucket_reso below what long pictures need.",
        "The default of 1024 is meant for 512: at 1024 it takes area from every picture that is "
        "not square.",
        _bucket_limit,
    ),
    Rule(
        "bucket-limits-idle",
        "warning",
        "Bucket limits without buckets, or beside bucket_no_upscale.",
        "Without buckets everything has one size; bucket_no_upscale makes buckets from the "
        "pictures themselves.",
        _idle_limits,
    ),
    Rule(
        "not-bucketed",
        "warning",
        "Pictures of many shapes without buckets.",
        "Heads and feet are cut off, and cut-off heads are learnt.",
        _not_bucketed,
    ),
)
