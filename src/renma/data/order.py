"""Which picture is shown when: a pure function of (seed, epoch).

One epoch shows every training picture exactly ``num_repeats`` times. Regularisation pictures get
as many showings as training pictures of the same data set and rotate through all of them over the
epochs (the reference never uses those beyond the first that many).
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass

from renma.config.data import Dataset
from renma.core import keyed
from renma.core.errors import UserError
from renma.data.buckets import Fit, fit
from renma.data.folder import ScannedSet
from renma.data.item import Item
from renma.data.notes import shown


@dataclass(frozen=True, slots=True)
class Showing:
    """One picture shown once.

    Args:
        set_index: which data set.
        item_index: which picture of it.
        position: running number in the epoch; the key of everything random about the showing.
        flip: whether it is mirrored.
    """

    set_index: int
    item_index: int
    position: int
    flip: bool


@dataclass(frozen=True)
class Batch:
    """Showings of one bucket, computed together.

    Args:
        set_index: which data set.
        size: (width, height) of the bucket.
        showings: at most ``batch_size``; the last batch of a bucket may be short.
    """

    set_index: int
    size: tuple[int, int]
    showings: tuple[Showing, ...]


class Order:
    """The endless row of batches of a run.

    Args:
        sets: the scanned data sets.
        seed: the run's seed.
    """

    def __init__(self, sets: Sequence[ScannedSet], seed: int) -> None:
        self.sets, self.seed = tuple(sets), seed
        self.fits: tuple[tuple[Fit, ...], ...] = tuple(
            tuple(fitted(item, s.dataset) for item in s.items) for s in self.sets
        )
        self._period = math.lcm(*map(self._turn, range(len(self.sets))))
        self._ends = [self._count(0)]  # running number of the first batch after each epoch

    @property
    def batches_per_epoch(self) -> int:
        """Batches of the first epoch; rotating regularisation pictures may change it by a few."""
        return self._ends[0]

    def batches_in(self, epochs: int) -> int:
        """Returns the batches of the first ``epochs`` epochs."""
        turns, rest = divmod(epochs, self._period)
        return (turns * self._counted(self._period) if turns else 0) + self._counted(rest)

    def locate(self, number: int) -> tuple[int, int]:
        """Returns (epoch, index in the epoch) of a batch's running number, both 0-based."""
        while self._ends[-1] <= number and len(self._ends) < self._period:
            self._counted(len(self._ends) + 1)
        turns = 0
        if self._ends[-1] <= number:
            turns, number = divmod(number, self._counted(self._period))
        epoch = bisect.bisect_right(self._ends, number)
        return turns * self._period + epoch, number - self._counted(epoch)

    def epoch(self, number: int) -> tuple[Batch, ...]:
        """Returns the shuffled batches of an epoch (0-based)."""
        batches = []
        position = 0
        for set_index, scanned in enumerate(self.sets):
            for size, indices in self._buckets(set_index, number).items():
                keyed.rng(self.seed, "bucket", number, set_index, *size).shuffle(indices)
                showings = []
                for item_index in indices:
                    flip = scanned.items[item_index].subset.flip_aug and self._flip(
                        number, position
                    )
                    showings.append(Showing(set_index, item_index, position, flip))
                    position += 1
                width = scanned.dataset.batch_size
                batches += [
                    Batch(set_index, size, tuple(showings[start : start + width]))
                    for start in range(0, len(showings), width)
                ]
        keyed.rng(self.seed, "batches", number).shuffle(batches)
        return tuple(batches)

    def rotated(self, set_index: int, epochs: int) -> dict[int, int]:
        """Returns how often the first ``epochs`` epochs show each regularisation picture."""
        trained, regular = self._kinds(set_index)
        turns, rest = divmod(epochs * len(trained), max(1, len(regular)))
        return {index: turns + (place < rest) for place, index in enumerate(regular)}

    def _flip(self, epoch: int, position: int) -> bool:
        return keyed.rng(self.seed, "flip", epoch, position).random() < 0.5

    def _turn(self, set_index: int) -> int:
        """Returns after how many epochs a set shows the same regularisation pictures again."""
        trained, regular = self._kinds(set_index)
        return len(regular) // math.gcd(len(trained), len(regular)) if regular else 1

    def _counted(self, epochs: int) -> int:
        """Returns the batches of the first epochs, at most one period of them, by counting."""
        while len(self._ends) < epochs:
            self._ends.append(self._ends[-1] + self._count(len(self._ends)))
        return self._ends[epochs - 1] if epochs else 0

    def _count(self, epoch: int) -> int:
        return sum(
            -(-len(indices) // scanned.dataset.batch_size)
            for set_index, scanned in enumerate(self.sets)
            for indices in self._buckets(set_index, epoch).values()
        )

    def _buckets(self, set_index: int, epoch: int) -> dict[tuple[int, int], list[int]]:
        """Returns item indices by bucket, an index as often as the epoch shows it."""
        trained, regular = self._kinds(set_index)
        shown = list(trained)
        if regular:
            start = epoch * len(trained)
            shown += [regular[(start + i) % len(regular)] for i in range(len(trained))]
        buckets: dict[tuple[int, int], list[int]] = {}
        for index in shown:
            found = self.fits[set_index][index]
            buckets.setdefault((found.width, found.height), []).append(index)
        return dict(sorted(buckets.items()))

    def _kinds(self, set_index: int) -> tuple[list[int], list[int]]:
        """Returns the training items, each as often as an epoch shows it, and the others."""
        items = self.sets[set_index].items
        trained = [
            index
            for index, item in enumerate(items)
            if not item.subset.is_reg
            for _ in range(item.subset.num_repeats)
        ]
        return trained, [index for index, item in enumerate(items) if item.subset.is_reg]


def fitted(item: Item, dataset: Dataset) -> Fit:
    """Returns how a picture is fitted.

    Raises:
        UserError: it fits no bucket; the message names it.
    """
    try:
        return fit(item.width, item.height, dataset)
    except UserError as error:
        raise UserError(error.what, where=shown(item.path), remedy=error.remedy) from None
