"""From folders to items: kohya's ``10_name`` convention, written-out data sets, caption files."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from renma.config.data import DataConfig, Dataset, DatasetOptions, Subset, SubsetOptions
from renma.core.errors import UserError
from renma.core.place import is_there
from renma.data.item import Item
from renma.data.notes import Notes
from renma.data.reading import NUMBERED, listing, picture_names, read_items
from renma.data.validation import held_out, parted
from renma.data.without_effect import note_without_effect


@dataclass(frozen=True)
class ScannedSet:
    """One data set with its pictures.

    Args:
        dataset: its options.
        items: the pictures it is trained on.
        held_out: the pictures it is measured on.
    """

    dataset: Dataset
    items: tuple[Item, ...]
    held_out: tuple[Item, ...] = ()


@dataclass(frozen=True)
class Scan:
    """All data sets of a run.

    Args:
        sets: in the order they are written.
        warnings: what is odd but usable.
        skipped: pictures left out because they cannot be read.
    """

    sets: tuple[ScannedSet, ...]
    warnings: tuple[str, ...]
    skipped: tuple[str, ...]


def expand(data: DataConfig, base: Path) -> tuple[Dataset, ...]:
    """Returns the data sets with every option resolved and absolute folders.

    Args:
        data: the ``[data]`` section.
        base: where relative paths start; what is not there is looked for in the current folder.

    Raises:
        UserError: no folder, a missing one, or the inner folder instead of its parent.
    """
    if data.datasets and (data.train_folder or data.reg_folder):
        raise UserError(
            "both data.datasets and data.train_folder are given", remedy="Keep one of them."
        )
    if data.datasets:
        return tuple(_resolved(data, dataset, base) for dataset in data.datasets)
    if not data.train_folder:
        raise UserError(
            "no pictures: data.train_folder and data.datasets are empty",
            remedy="Set data.train_folder to the parent of folders such as '10_aa12 person'.",
        )
    subsets = [*_numbered(find(data.train_folder, base, "data.train_folder"), reg=False)]
    if data.reg_folder:
        subsets += _numbered(find(data.reg_folder, base, "data.reg_folder"), reg=True)
    return (_resolved(data, Dataset(subsets=tuple(subsets)), base),)


def scan(datasets: tuple[Dataset, ...], data: DataConfig) -> Scan:
    """Returns every picture with its size, caption and hash.

    Raises:
        UserError: a broken picture or an empty caption file (unless allowed), no picture at all.
    """
    notes = Notes()
    for line in data.without_effect:
        notes.add(line)
    found = [_scan_set(dataset, data, notes) for dataset in datasets]
    apart = set[str]().union(*map(held_out, datasets, found))
    sets = tuple(
        _parted(dataset, items, apart) for dataset, items in zip(datasets, found, strict=True)
    )
    if data.train_folder:
        _note_passed_over(datasets, notes)
    for scanned in sets:
        note_without_effect(scanned.dataset, (*scanned.items, *scanned.held_out), notes)
    return Scan(sets, notes.lines(), tuple(notes.skipped))


def _resolved(data: DataConfig, dataset: Dataset, base: Path) -> Dataset:
    """Fills in inherited options: subset, else data set, else ``[data]``, else the default."""
    general = _given(data, DatasetOptions) | _given(dataset, DatasetOptions)
    shared = _given(data, SubsetOptions) | _given(dataset, SubsetOptions)
    subsets = []
    for subset in dataset.subsets:
        own = _given(subset, Subset) | _places(subset, base)
        full = SubsetOptions().model_dump() | {"is_reg": False} | shared | own
        subsets.append(Subset.model_validate(full))
    _check_methods(subsets)
    full = DatasetOptions().model_dump() | general | {"subsets": tuple(subsets)}
    return Dataset.model_validate(full)


def _places(subset: Subset, base: Path) -> dict[str, str]:
    """Returns the absolute folders and files of a subset.

    Raises:
        UserError: one of them is not there.
    """
    found = {}
    if subset.metadata_file:
        found["metadata_file"] = str(find(subset.metadata_file, base, "metadata_file", file=True))
        if "caption_extension" in subset.model_fields_set:
            raise UserError(
                "caption_extension means nothing beside metadata_file",
                where=subset.metadata_file,
                remedy="Take one of them out.",
            )
    if subset.image_dir or not subset.metadata_file:
        found["image_dir"] = str(find(subset.image_dir, base, "image_dir"))
    else:
        found["image_dir"] = str(Path(found["metadata_file"]).parent)
    if subset.mask_dir:
        found["mask_dir"] = str(find(subset.mask_dir, base, "mask_dir"))
    return found


def _check_methods(subsets: list[Subset]) -> None:
    """Refuses to mix pictures of metadata with others in one data set.

    Raises:
        UserError: some subsets have metadata and others not, or regularisation pictures have.
    """
    described = [bool(subset.metadata_file) for subset in subsets]
    for subset in subsets:
        if subset.metadata_file and subset.is_reg:
            raise UserError(
                "regularisation pictures cannot come from metadata",
                where=subset.metadata_file,
                remedy="Give is_reg only to folders, in a data set without metadata_file.",
            )
    if any(described) and not all(described):
        raise UserError(
            "has no metadata_file, but another subset of its data set has",
            where=subsets[described.index(False)].image_dir,
            remedy="Put it into a [[datasets]] of its own.",
        )


def _given(level: SubsetOptions | DatasetOptions, options: type[Any]) -> dict[str, Any]:
    names = level.model_fields_set & set(options.model_fields)
    return {name: getattr(level, name) for name in names}


def find(name: str, base: Path, key: str, *, file: bool = False) -> Path:
    """Returns an existing folder (or file): from ``base``, else from the current folder.

    Raises:
        UserError: it is in neither, or a file where a folder is meant.
    """
    kind = "file" if file else "folder"
    if not name.strip():
        raise UserError(f"names no {kind}", where=f"{key} = ''")
    given = Path(name).expanduser()
    tried = [base / given] if given.is_absolute() else [base / given, Path.cwd() / given]
    for path in tried:
        if not is_there(path):
            continue
        if path.is_file() if file else path.is_dir():
            # not resolve(): a linked folder keeps the name its owner gave it
            return Path(os.path.abspath(path))  # noqa: PTH100
        other = "folder" if file else "file"
        raise UserError(f"is a {other}, not a {kind}", where=f"{key} = {path}")
    also = f" (nor {tried[1]})" if len(tried) > 1 and tried[1] != tried[0] else ""
    raise UserError(f"there is no such {kind}{also}", where=f"{key} = {tried[0]}")


def _numbered(parent: Path, *, reg: bool) -> list[Subset]:
    """Returns the subsets ``<repeats>_<name>`` inside a folder.

    Raises:
        UserError: there is none; the message says which folder to give instead.
    """
    found, others = [], []
    for path in sorted(p for p in parent.iterdir() if p.is_dir() and not p.name.startswith(".")):
        match = NUMBERED.fullmatch(path.name)
        if match and int(match[1]) > 0:
            found.append(
                Subset(
                    image_dir=str(path),
                    num_repeats=int(match[1]),
                    class_tokens=match[2],
                    is_reg=reg,
                )
            )
        else:
            others.append(path.name)
    if found:
        return found
    pictures = bool(picture_names(listing(parent)[0]))
    if pictures and NUMBERED.fullmatch(parent.name):
        raise UserError(
            "is the inner folder: it holds the pictures itself",
            where=parent,
            remedy=f"Give its parent instead: {parent.parent}",
        )
    if pictures:
        raise UserError(
            "holds pictures directly",
            where=parent,
            remedy=f"Move them into a folder such as '{parent / '10_myname'}' (10 = repeats).",
        )
    names = f"; it has {', '.join(others[:4])}" if others else "; it is empty"
    raise UserError(
        f"holds no folder named <repeats>_<name>{names}",
        where=parent,
        remedy="Name the picture folders like '10_aa12 person'.",
    )


def _scan_set(dataset: Dataset, data: DataConfig, notes: Notes) -> list[Item]:
    items: list[Item] = []
    seen: set[Path] = set()
    for subset in dataset.subsets:
        folder = Path(subset.metadata_file or subset.image_dir)
        if folder.resolve() in seen:
            notes.add("named twice in one data set, used once", folder)
            continue
        seen.add(folder.resolve())
        items += read_items(subset, data, notes)
        if subset.is_reg and subset.num_repeats > 1:
            notes.add(
                "num_repeats has no effect on regularisation pictures, they share as many "
                "showings as the training pictures have",
                folder,
            )
    if not any(not item.subset.is_reg for item in items):
        folders = ", ".join(s.image_dir for s in dataset.subsets)
        raise UserError("holds no training pictures", where=folders or "a data set")
    return items


def _parted(dataset: Dataset, items: list[Item], apart: set[str]) -> ScannedSet:
    trained, measured = parted(items, apart)
    if all(item.subset.is_reg for item in trained):
        raise UserError(
            "all pictures of a data set are held out",
            where=", ".join(s.image_dir for s in dataset.subsets),
            remedy="Lower validation_split.",
        )
    return ScannedSet(dataset, trained, measured)


def _note_passed_over(datasets: tuple[Dataset, ...], notes: Notes) -> None:
    """Names what lies beside numbered folders and is not used."""
    used = {Path(s.image_dir) for d in datasets for s in d.subsets}
    for parent in sorted({folder.parent for folder in used}):
        files, _ = listing(parent)
        for name in sorted(p.name for p in parent.iterdir() if p.is_dir()):
            if parent / name not in used and not name.startswith("."):
                notes.add("not used, its name is not <repeats>_<name>", parent / name)
        for name in picture_names(files):
            notes.add("not used, it lies outside the numbered folders", parent / name)
