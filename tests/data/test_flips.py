"""Which showings are mirrored: half of them, by seed, epoch and position, nothing else."""

from __future__ import annotations

from pathlib import Path

from renma.config.data import Dataset, Subset
from renma.data.folder import ScannedSet
from renma.data.item import Item
from renma.data.order import Order


def order(seed: int = 42, *, flip_aug: bool = True, batch_size: int = 3) -> Order:
    subset = Subset(image_dir="pictures", num_repeats=5, flip_aug=flip_aug)
    items = [Item(Path(f"{i}.png"), 64, 64, "aa12", True, subset, f"{i}") for i in range(40)]
    dataset = Dataset(resolution=(64, 64), batch_size=batch_size)
    return Order([ScannedSet(dataset, tuple(items))], seed)


def flips(made: Order, epoch: int) -> list[bool]:
    """Whether each showing is mirrored, by position in the epoch."""
    showings = [s for batch in made.epoch(epoch) for s in batch.showings]
    return [s.flip for s in sorted(showings, key=lambda s: s.position)]


def shown(made: Order, epoch: int) -> list[tuple[int, int]]:
    return [(s.item_index, s.position) for batch in made.epoch(epoch) for s in batch.showings]


def alike(one: list[bool], other: list[bool]) -> float:
    return sum(a == b for a, b in zip(one, other, strict=True)) / len(one)


def test_about_half_of_the_showings_are_mirrored():
    assert 0.4 < sum(flips(order(), 0)) / 200 < 0.6


def test_nothing_changed_nothing_changes():
    made = order()
    before = [flips(made, epoch) for epoch in range(3)]
    assert [flips(order(), epoch) for epoch in range(3)] == before
    assert [flips(made, epoch) for epoch in (2, 1, 0)] == before[::-1]  # in any order asked


def test_each_epoch_mirrors_anew():
    """Strangers to each other agree on half of the positions."""
    rows = [flips(order(), epoch) for epoch in range(4)]
    for i, one in enumerate(rows):
        for other in rows[i + 1 :]:
            assert 0.35 < alike(one, other) < 0.65


def test_each_seed_mirrors_otherwise():
    assert 0.35 < alike(flips(order(42), 0), flips(order(43), 0)) < 0.65


def test_the_batch_size_does_not_change_what_is_mirrored():
    assert flips(order(batch_size=3), 1) == flips(order(batch_size=8), 1)


def test_mirroring_changes_nothing_else_about_the_order():
    assert not any(flips(order(flip_aug=False), 0))
    assert shown(order(flip_aug=True), 0) == shown(order(flip_aug=False), 0)
