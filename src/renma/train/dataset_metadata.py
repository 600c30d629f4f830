"""What a LoRA file says about its data sets, as kohya's files do; folders by their names only."""

from __future__ import annotations

import json
from typing import Any

from renma.config.data import Subset
from renma.data.folder import ScannedSet
from renma.data.item import by_subset
from renma.train.places import without_folders
from renma.train.plan import Prepared


def dataset_facts(prepared: Prepared) -> dict[str, Any]:
    """Returns sizes, buckets, folders, tags and caption options.

    Where kohya's keys hold one value, it is that of the first data set or training folder;
    ``ss_datasets`` has them all. Without data sets there is nothing to say.
    """
    if not prepared.scan.sets:
        return {}
    summary, first = prepared.summary, prepared.scan.sets[0].dataset
    return {
        "ss_datasets": _json(_datasets(prepared)),
        "ss_resolution": f"({first.resolution[0]}, {first.resolution[1]})",
        "ss_enable_bucket": first.enable_bucket,
        "ss_bucket_no_upscale": first.bucket_no_upscale,
        "ss_min_bucket_reso": first.min_bucket_reso,
        "ss_max_bucket_reso": first.max_bucket_reso,
        "ss_bucket_info": _json(_bucket_info(prepared, 0)),
        "ss_dataset_dirs": _json(summary["dataset_dirs"]),
        "ss_reg_dataset_dirs": _json(summary.get("reg_dataset_dirs", {})),
        "ss_tag_frequency": _json(summary["tag_frequency"]),
        "ss_validation_split": first.validation_split or None,
        "ss_validation_seed": first.validation_seed if first.validation_split else None,
        "modelspec.resolution": "x".join(map(str, first.resolution)),
        **_caption_facts(_first_training(prepared.scan.sets)),
    }


def _caption_facts(first: Subset) -> dict[str, Any]:
    face = first.face_crop_aug_range
    return {
        "ss_shuffle_caption": first.shuffle_caption,
        "ss_keep_tokens": first.keep_tokens,
        "ss_flip_aug": first.flip_aug,
        "ss_color_aug": first.color_aug,
        "ss_random_crop": first.random_crop,
        "ss_face_crop_aug_range": list(face) if face else None,
        "ss_resize_interpolation": first.resize_interpolation,
        "ss_caption_dropout_rate": first.caption_dropout_rate,
        "ss_caption_dropout_every_n_epochs": first.caption_dropout_every_n_epochs,
        "ss_caption_tag_dropout_rate": first.caption_tag_dropout_rate,
    }


def _first_training(sets: tuple[ScannedSet, ...]) -> Subset:
    return next(item.subset for s in sets for item in s.items if not item.subset.is_reg)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _bucket_info(prepared: Prepared, set_index: int) -> dict[str, Any]:
    """Returns kohya's bucket table: running number to resolution and showings of an epoch."""
    counts: dict[tuple[int, int], int] = {}
    for batch in prepared.order.epoch(0):
        if batch.set_index == set_index:
            counts[batch.size] = counts.get(batch.size, 0) + len(batch.showings)
    buckets = {
        str(i): {"resolution": list(size), "count": counts[size]}
        for i, size in enumerate(sorted(counts))
    }
    return {"buckets": buckets}


def _datasets(prepared: Prepared) -> list[dict[str, Any]]:
    """Returns kohya's list of data sets, folders by their own names only."""
    rows = []
    for index, scanned in enumerate(prepared.scan.sets):
        dataset = scanned.dataset
        grouped = by_subset(scanned.items)
        subsets = [
            {
                **without_folders(s).model_dump(mode="json"),
                "img_count": len(grouped.get(id(s), [])),
            }
            for s in dataset.subsets
        ]
        rows.append(
            {
                "is_dreambooth": not any(s.metadata_file for s in dataset.subsets),
                "batch_size_per_device": dataset.batch_size,
                "resolution": list(dataset.resolution),
                "enable_bucket": dataset.enable_bucket,
                "bucket_info": _bucket_info(prepared, index),
                "subsets": subsets,
            }
        )
    return rows
