"""Contact sheet of a run's pictures with captions and buckets (no torch)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from renma.core.errors import UserError
from renma.data.buckets import fit
from renma.data.folder import ScannedSet, expand, scan
from renma.data.item import Item
from renma.judge.folder import RunRecord
from renma.judge.inline import Picture, from_file
from renma.judge.report import facts

MOST = 36
"""Pictures shown of each kind; of more, evenly spaced ones."""
THUMBNAIL, BYTES = 192, 10_000  # pixels a side and bytes at most
LONGEST_CAPTION = 500  # characters


@dataclass(frozen=True)
class Thumbnail:
    """One picture of the data set."""

    picture: Picture
    name: str
    caption: str
    size: str
    bucket: str


@dataclass(frozen=True)
class Kind:
    """Training or regularisation pictures, or those before the change that is learnt."""

    name: str
    shown: tuple[Thumbnail, ...]
    paths: tuple[Path, ...]
    """Of all its pictures."""

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.paths)


def contact_sheet(folder: RunRecord) -> tuple[list[Kind], str]:
    """Returns the pictures by kind, or the reason why they cannot be shown."""
    data = folder.run.data
    try:
        sets = scan(expand(data, folder.path), data).sets
    except UserError as error:
        return [], error.line()
    pairs = [(item, scanned) for scanned in sets for item in scanned.items]
    kinds = [
        _kind("Training", [pair for pair in pairs if not pair[0].subset.is_reg]),
        _kind("Regularisation", [pair for pair in pairs if pair[0].subset.is_reg]),
        _kind("Before the change", _before(folder)),
    ]
    return [kind for kind in kinds if kind.count], ""


def _before(folder: RunRecord) -> list[tuple[Item, ScannedSet]]:
    """Returns the pictures of a copy-machine LoRA's first stage that are still there."""
    place = folder.run.copier.train_folder
    if not place:
        return []
    other = {"train_folder": place, "reg_folder": "", "datasets": (), "validation_split": 0.0}
    data = folder.run.data.model_copy(update=other)
    try:
        sets = scan(expand(data, folder.path), data).sets
    except UserError:  # the settings name the folder
        return []
    return [(item, scanned) for scanned in sets for item in scanned.items]


def _kind(name: str, pairs: Sequence[tuple[Item, ScannedSet]]) -> Kind:
    count = len(pairs)
    some = pairs if count <= MOST else [pairs[i * count // MOST] for i in range(MOST)]
    shown = tuple(_thumbnail(item, scanned) for item, scanned in some)
    return Kind(name, shown, tuple(item.path for item, _ in pairs))


def _thumbnail(item: Item, scanned: ScannedSet) -> Thumbnail:
    return Thumbnail(
        from_file(item.path, THUMBNAIL, BYTES),
        item.path.name,
        facts.cut(item.caption, LONGEST_CAPTION),
        f"{item.width}×{item.height}",
        _bucket(item, scanned),
    )


def _bucket(item: Item, scanned: ScannedSet) -> str:
    try:
        fitted = fit(item.width, item.height, scanned.dataset)
    except UserError as error:
        return error.what
    return f"{fitted.width}×{fitted.height}"
