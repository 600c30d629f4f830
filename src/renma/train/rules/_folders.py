"""The pictures of a run by folder, as rules about captions look at them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from renma.config.data import Subset
from renma.data import item as pictures
from renma.data.item import Item
from renma.data.notes import shown
from renma.train.rules._base import Facts


def everything(facts: Facts) -> list[Item]:
    """Returns all pictures: trained, for regularisation, held out."""
    held_out = (item for scanned in facts.scan.sets for item in scanned.held_out)
    return [*facts.trained, *facts.reg, *held_out]


def subsets(facts: Facts) -> list[Subset]:
    """Returns the folders of all data sets."""
    return [subset for scanned in facts.scan.sets for subset in scanned.dataset.subsets]


def by_subset(
    facts: Facts, *, reg: bool = False, held_out: bool = False
) -> Iterator[tuple[Subset, list[Item]]]:
    """Yields the folders with training pictures.

    Args:
        facts: of the run.
        reg: the folders of regularisation pictures too.
        held_out: with the pictures that are measured and never trained.
    """
    for scanned in facts.scan.sets:
        grouped = pictures.by_subset((*scanned.items, *(scanned.held_out if held_out else ())))
        for subset in scanned.dataset.subsets:
            items = grouped.get(id(subset))
            if items and (reg or not subset.is_reg):
                yield subset, items


def says(caption: str, trigger: str) -> bool:
    """Says whether a caption has all words of the trigger, in whatever order and tags."""
    words = re.split(r"[\s,]+", trigger.strip(" ,"))
    return all(
        re.search(rf"(?<!\w){re.escape(word)}(?!\w)", caption, re.IGNORECASE) for word in words
    )


def where(subset: Subset) -> str:
    """Returns what a folder is called in messages."""
    return shown(subset.metadata_file or subset.image_dir)
