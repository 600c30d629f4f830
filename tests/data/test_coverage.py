"""How often a run shows each regularisation picture (D4)."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from renma.config.data import Dataset, Subset
from renma.data.folder import ScannedSet
from renma.data.item import Item
from renma.data.order import Order
from renma.data.summary import coverage


def made(train: int, reg: int, repeats: int, batch_size: int) -> Order:
    kinds = [Subset(image_dir="t", num_repeats=repeats), Subset(image_dir="r", is_reg=True)]
    items = [
        Item(Path(f"{subset.image_dir}{i}.png"), 64, 64, "", True, subset, f"{subset.image_dir}{i}")
        for subset, count in zip(kinds, (train, reg), strict=True)
        for i in range(count)
    ]
    dataset = Dataset(resolution=(64, 64), batch_size=batch_size)
    return Order([ScannedSet(dataset, tuple(items))], 3)


@given(
    train=st.integers(1, 6), reg=st.integers(1, 20), repeats=st.integers(1, 3),
    batch_size=st.integers(1, 4), batches=st.integers(0, 40),
)  # fmt: skip
def test_coverage_is_what_the_batches_show(train, reg, repeats, batch_size, batches):
    order = made(train, reg, repeats, batch_size)
    counts = Counter()
    for number in range(batches):
        epoch, index = order.locate(number)
        counts.update(s.item_index for s in order.epoch(epoch)[index].showings)
    shown = [counts[train + i] for i in range(reg)]
    found = coverage(order, batches)
    assert (found.pictures, found.never) == (reg, shown.count(0))
    assert (found.least, found.most) == (min(shown), max(shown))


def test_what_is_said_about_it():
    """4 training pictures and 10 others: sd-scripts shows the first 4 of them, for ever."""
    assert coverage(made(4, 10, 1, 1), 8).line() == (
        "each regularisation picture is shown 0 to 1 times; 6 of 10 are never shown"
    )
    assert coverage(made(4, 10, 1, 1), 40).line() == "each regularisation picture is shown 2 times"
    assert coverage(made(4, 0, 1, 1), 40).line() == ""
