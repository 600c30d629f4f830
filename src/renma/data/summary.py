"""Facts about a data set: for the plan, the file's metadata, the report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from renma.core.counted import times
from renma.data.captions import tags
from renma.data.folder import Scan
from renma.data.item import Item
from renma.data.notes import shown as readable
from renma.data.order import Order

CROP_WARNING = 0.2
"""A picture that loses more than this share of its area is named."""


def summarise(scan: Scan, order: Order) -> dict[str, Any]:
    """Returns counts, buckets, tag frequencies and warnings.

    Keys: ``train_showings`` and ``reg_showings`` (of one epoch); ``dataset_dirs``,
    ``reg_dataset_dirs`` and ``tag_frequency`` as kohya's metadata holds them, by the name of the
    folder, or of the metadata file that describes the pictures; ``warnings``.
    """
    items = [item for scanned in scan.sets for item in scanned.items]
    shown = [
        scan.sets[s.set_index].items[s.item_index].subset.is_reg
        for batch in order.epoch(0)
        for s in batch.showings
    ]
    return {
        "train_showings": shown.count(False),
        "reg_showings": shown.count(True),
        "dataset_dirs": _folders([i for i in items if not i.subset.is_reg]),
        "reg_dataset_dirs": _folders([i for i in items if i.subset.is_reg]),
        "tag_frequency": _frequencies(items),
        "warnings": _warnings(scan, order),
    }


@dataclass(frozen=True)
class Coverage:
    """How a run shows its regularisation pictures.

    Attributes:
        pictures: how many there are.
        never: how many of them are not shown at all.
        least: showings of the picture shown least.
        most: showings of the picture shown most.
    """

    pictures: int
    never: int
    least: int
    most: int

    def line(self) -> str:
        """Returns it as one line, empty without regularisation pictures."""
        if not self.pictures:
            return ""
        missed = ""
        if self.never:
            are = "is" if self.never == 1 else "are"
            missed = f"; {self.never} of {self.pictures} {are} never shown"
        return f"each regularisation picture is shown {times(self.least, self.most)}{missed}"


def coverage(order: Order, batches: int) -> Coverage:
    """Counts the showings of regularisation pictures in the first ``batches`` batches of a run."""
    whole, rest = order.locate(batches)
    counts = {
        (set_index, item_index): often
        for set_index in range(len(order.sets))
        for item_index, often in order.rotated(set_index, whole).items()
    }
    for batch in order.epoch(whole)[:rest] if rest and counts else ():
        for s in batch.showings:
            if (s.set_index, s.item_index) in counts:
                counts[s.set_index, s.item_index] += 1
    shown = list(counts.values()) or [0]
    return Coverage(len(counts), shown.count(0) if counts else 0, min(shown), max(shown))


def _place(item: Item) -> str:
    """Returns the name of a picture's folder; of its metadata file where one describes it."""
    file = item.subset.metadata_file
    return Path(file).name if file else item.path.parent.name


def _folders(items: list[Item]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for item in items:
        row = found.setdefault(_place(item), {"n_repeats": item.subset.num_repeats, "img_count": 0})
        row["img_count"] += 1
    return found


def _frequencies(items: list[Item]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for item in items:
        counts = found.setdefault(_place(item), {})
        for tag in dict.fromkeys(tags(item.caption.replace("\n", ",").lower())):
            counts[tag] = counts.get(tag, 0) + 1
    return found


def _warnings(scan: Scan, order: Order) -> list[str]:
    lost = [
        f"{readable(item.path.name)} ({fitted.cropped_away:.0%})"
        for scanned, fits in zip(scan.sets, order.fits, strict=True)
        for item, fitted in zip(scanned.items, fits, strict=True)
        if fitted.cropped_away > CROP_WARNING
    ]
    if not lost:
        return []
    more = f" and {len(lost) - 5} more" if len(lost) > 5 else ""
    return [f"cropping to the bucket cuts off much of {', '.join(lost[:5])}{more}."]
