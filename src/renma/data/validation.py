"""Which pictures are held out: chosen by what is in the file, never trained on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from renma.config.data import Dataset
from renma.core import keyed
from renma.data.item import Item


def held_out(dataset: Dataset, items: Iterable[Item]) -> set[str]:
    """Returns the digests of the pictures that a data set holds out.

    A picture's place in the draw depends on its bytes and ``validation_seed`` alone: neither names,
    folders, order nor the run's seed matter, and one picture more moves at most one other over the
    border. At least one picture is held out and at least one is left; regularisation pictures are
    never held out.

    Args:
        dataset: share and seed.
        items: its pictures.
    """
    digests = {item.digest for item in items if not item.subset.is_reg}
    if not dataset.validation_split or len(digests) < 2:
        return set()
    count = min(max(1, round(len(digests) * dataset.validation_split)), len(digests) - 1)
    seed = dataset.validation_seed
    return set(sorted(digests, key=lambda d: keyed.key(seed, "held out", d))[:count])


def parted(items: Sequence[Item], digests: set[str]) -> tuple[tuple[Item, ...], tuple[Item, ...]]:
    """Returns the pictures to train on and those held out.

    Equal files in other folders and data sets go with their twin, so that nothing leaks; a
    regularisation picture that is also held out is neither trained nor measured.
    """
    trained = tuple(item for item in items if item.digest not in digests)
    apart = [item for item in items if item.digest in digests and not item.subset.is_reg]
    return trained, tuple({item.digest: item for item in reversed(apart)}.values())[::-1]
