"""Pictures in the plan: buckets with what is cropped away, and how often each picture is shown."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from renma.data.buckets import Fit
from renma.data.item import Item
from renma.data.notes import shown
from renma.data.order import Order


@dataclass(frozen=True)
class Bucket:
    """The pictures that are trained at one size.

    Attributes:
        size: width x height in pixels.
        pictures: how many.
        showings: of an epoch.
        batches: of an epoch.
        full: batches that are as large as they may be.
        cropped: share of the area that is cut off on average.
        worst: the largest share.
        worst_picture: the file that loses it; empty where nothing is lost.
        enlarged: pictures that are smaller than the bucket.
    """

    size: str
    pictures: int
    showings: int
    batches: int
    full: int
    cropped: float
    worst: float
    worst_picture: str
    enlarged: int


@dataclass(frozen=True)
class Seen:
    """How often a run shows its training pictures.

    Attributes:
        least: showings of the picture shown least.
        most: of the picture shown most.
        average: over all training pictures.
        never: pictures that the run ends too early for.
    """

    least: int
    most: int
    average: float
    never: int


def buckets(order: Order) -> tuple[Bucket, ...]:
    """Returns every bucket of the first epoch, smallest width first."""
    rows: dict[tuple[int, int], list[tuple[Item, Fit]]] = {}
    for scanned, fits in zip(order.sets, order.fits, strict=True):
        for item, fit in zip(scanned.items, fits, strict=True):
            rows.setdefault((fit.width, fit.height), []).append((item, fit))
    counts: dict[tuple[int, int], list[int]] = {}
    for batch in order.epoch(0):
        row = counts.setdefault(batch.size, [0, 0, 0])
        limit = order.sets[batch.set_index].dataset.batch_size
        row[0] += len(batch.showings)
        row[1] += 1
        row[2] += len(batch.showings) == limit
    return tuple(_bucket(size, rows[size], counts.get(size, [0, 0, 0])) for size in sorted(rows))


def _bucket(size: tuple[int, int], row: list[tuple[Item, Fit]], counts: Iterable[int]) -> Bucket:
    item, fit = max(row, key=lambda each: each[1].cropped_away)
    worst = fit.cropped_away
    return Bucket(
        f"{size[0]}x{size[1]}",
        len(row),
        *counts,
        cropped=round(sum(fit.cropped_away for _, fit in row) / len(row), 4),
        worst=round(worst, 4),
        worst_picture=shown(item.path.name) if worst else "",
        enlarged=sum(enlargement(item, fit) > 1 for item, fit in row),
    )


def enlargement(item: Item, fit: Fit) -> float:
    """Returns the factor by which a picture's sides grow."""
    return max(fit.resized[0] / item.width, fit.resized[1] / item.height)


def seen(order: Order, batches: int) -> Seen:
    """Counts how often training pictures are shown in the first ``batches`` batches of a run."""
    whole, rest = _place(order, batches)
    counts = {
        (number, index): whole * item.subset.num_repeats
        for number, scanned in enumerate(order.sets)
        for index, item in enumerate(scanned.items)
        if not item.subset.is_reg
    }
    for batch in order.epoch(whole)[:rest] if rest else ():
        for each in batch.showings:
            if (each.set_index, each.item_index) in counts:
                counts[each.set_index, each.item_index] += 1
    times = counts.values()
    return Seen(
        min(times), max(times), round(sum(times) / len(times), 1), sum(n == 0 for n in times)
    )


def _place(order: Order, batches: int) -> tuple[int, int]:
    """Returns epoch and batch in it; where all epochs are alike, without counting them."""
    if any(item.subset.is_reg for scanned in order.sets for item in scanned.items):
        return order.locate(batches)
    return divmod(batches, order.batches_per_epoch)
