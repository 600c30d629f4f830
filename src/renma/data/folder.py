"""From folders to items: kohya's ``10_name`` convention, written-out data sets, caption files."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from renma.config.data import DataConfig, Dataset, DatasetOptions, Subset, SubsetOptions
from renma.core.errors import UserError
from renma.core.store import file_hash
from renma.data.caption_file import CaptionFiles, read_caption
from renma.data.item import Item
from renma.data.notes import Notes, shown
from renma.data.pictures import ENDINGS, inspect

NUMBERED = re.compile(r"(\d+)_(.*)")


@dataclass(frozen=True)
class ScannedSet:
    """One data set with its pictures."""

    dataset: Dataset
    items: tuple[Item, ...]


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
    subsets = [*_numbered(_find(data.train_folder, base, "data.train_folder"), reg=False)]
    if data.reg_folder:
        subsets += _numbered(_find(data.reg_folder, base, "data.reg_folder"), reg=True)
    return (_resolved(data, Dataset(subsets=tuple(subsets)), base),)


def scan(datasets: tuple[Dataset, ...], data: DataConfig) -> Scan:
    """Returns every picture with its size, caption and hash.

    Raises:
        UserError: a broken picture or an empty caption file (unless allowed), no picture at all.
    """
    notes = Notes()
    sets = tuple(_scan_set(dataset, data, notes) for dataset in datasets)
    if data.train_folder:
        _note_passed_over(datasets, notes)
    return Scan(sets, notes.lines(), tuple(notes.skipped))


def _resolved(data: DataConfig, dataset: Dataset, base: Path) -> Dataset:
    """Fills in inherited options: subset, else data set, else ``[data]``, else the default."""
    general = _given(data, DatasetOptions) | _given(dataset, DatasetOptions)
    shared = _given(data, SubsetOptions) | _given(dataset, SubsetOptions)
    subsets = []
    for subset in dataset.subsets:
        folder = _find(subset.image_dir, base, "image_dir")
        own = _given(subset, Subset) | {"image_dir": str(folder)}
        full = SubsetOptions().model_dump() | {"is_reg": False} | shared | own
        subsets.append(Subset.model_validate(full))
    full = DatasetOptions().model_dump() | general | {"subsets": tuple(subsets)}
    return Dataset.model_validate(full)


def _given(level: SubsetOptions | DatasetOptions, options: type[Any]) -> dict[str, Any]:
    names = level.model_fields_set & set(options.model_fields)
    return {name: getattr(level, name) for name in names}


def _find(name: str, base: Path, key: str) -> Path:
    """Returns an existing folder: from ``base``, else from the current folder.

    Raises:
        UserError: it is in neither, or a file.
    """
    if not name.strip():
        raise UserError("names no folder", where=f"{key} = ''")
    given = Path(name).expanduser()
    tried = [base / given] if given.is_absolute() else [base / given, Path.cwd() / given]
    for path in tried:
        if path.is_dir():
            # not resolve(): a linked folder keeps the name its owner gave it
            return Path(os.path.abspath(path))  # noqa: PTH100
        if path.exists():
            raise UserError("is a file, not a folder", where=f"{key} = {path}")
    also = f" (nor {tried[1]})" if len(tried) > 1 and tried[1] != tried[0] else ""
    raise UserError(f"there is no such folder{also}", where=f"{key} = {tried[0]}")


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
    pictures = bool(_picture_names(_listing(parent)[0]))
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


def _listing(folder: Path) -> tuple[list[str], list[str]]:
    """Returns the sorted names of the files, and those of links that lead nowhere.

    scandir, because names may hold [ or *.
    """
    files, dead = [], []
    with os.scandir(folder) as entries:
        for entry in entries:
            try:
                known = entry.is_file() or entry.is_dir()
            except OSError:  # a link that leads back to itself
                known = False
            if not known:
                dead.append(entry.name)
            elif entry.is_file():
                files.append(entry.name)
    return sorted(files), sorted(dead)


def _picture_names(names: list[str]) -> list[str]:
    return [n for n in names if Path(n).suffix.lower() in ENDINGS and not n.startswith(".")]


def _scan_set(dataset: Dataset, data: DataConfig, notes: Notes) -> ScannedSet:
    items: list[Item] = []
    seen: set[Path] = set()
    for subset in dataset.subsets:
        folder = Path(subset.image_dir)
        if folder.resolve() in seen:
            notes.add("named twice in one data set, used once", folder)
            continue
        seen.add(folder.resolve())
        items += _items(subset, data, notes)
        if subset.is_reg and subset.num_repeats > 1:
            notes.add(
                "num_repeats has no effect on regularisation pictures, they share as many "
                "showings as the training pictures have",
                folder,
            )
    if not any(not item.subset.is_reg for item in items):
        folders = ", ".join(s.image_dir for s in dataset.subsets)
        raise UserError("holds no training pictures", where=folders or "a data set")
    return ScannedSet(dataset, tuple(items))


def _note_passed_over(datasets: tuple[Dataset, ...], notes: Notes) -> None:
    """Names what lies beside numbered folders and is not used."""
    used = {Path(s.image_dir) for d in datasets for s in d.subsets}
    for parent in sorted({folder.parent for folder in used}):
        files, _ = _listing(parent)
        for name in sorted(p.name for p in parent.iterdir() if p.is_dir()):
            if parent / name not in used and not name.startswith("."):
                notes.add("not used, its name is not <repeats>_<name>", parent / name)
        for name in _picture_names(files):
            notes.add("not used, it lies outside the numbered folders", parent / name)


def _items(subset: Subset, data: DataConfig, notes: Notes) -> list[Item]:
    folder = Path(subset.image_dir)
    files, dead = _listing(folder)
    for name in _picture_names(dead):
        notes.add("links that lead nowhere", folder / name)
    names = _picture_names(files)
    if not names:
        raise _no_pictures(folder)
    captions = CaptionFiles(folder, files, subset.caption_extension)
    stems: dict[str, str] = {}
    found = []
    for name in names:
        path = folder / name
        if path.stem in stems:
            notes.add("one caption file for several pictures", folder / stems[path.stem], path)
        stems[path.stem] = name
        try:
            look = inspect(path, data.max_pixels)
        except UserError as error:
            if data.bad_pictures == "stop":
                raise
            notes.skip(path, error.line())
            continue
        for oddity in look.oddities:
            notes.add(oddity, path)
        text = _caption(captions.of(path), subset, data, notes)
        caption = subset.class_tokens if text is None else text
        row = (path, look.width, look.height, caption, text is not None, subset, file_hash(path))
        found.append(Item(*row))
    _note_missing(folder, subset, found, notes)
    return found


def _note_missing(folder: Path, subset: Subset, found: list[Item], notes: Notes) -> None:
    """Names what a user may think is trained and is not: captions, inner folders."""
    # a folder without any captions is trained on its name on purpose (class and identifier)
    bare = sum(not item.captioned for item in found)
    if bare and (bare < len(found) or not subset.class_tokens):
        notes.add(_without_caption(folder, bare, subset))
    for inner in sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")):
        if _picture_names(_listing(inner)[0]):
            notes.add("not used, folders inside a picture folder are not searched", inner)


def _no_pictures(folder: Path) -> UserError:
    numbered = any(p.is_dir() and NUMBERED.fullmatch(p.name) for p in folder.iterdir())
    if numbered:
        return UserError(
            "holds no pictures itself, only folders of pictures",
            where=shown(folder),
            remedy="Give it as data.train_folder, or give the inner folder as image_dir.",
        )
    endings = ", ".join(sorted(ENDINGS))
    return UserError("holds no pictures", where=shown(folder), remedy=f"Known endings: {endings}.")


def _without_caption(folder: Path, count: int, subset: Subset) -> str:
    extension = subset.caption_extension
    others = {".txt", ".caption"} - {extension}
    near = [e for e in sorted(others) if any(p.suffix == e for p in folder.iterdir())]
    hint = f" There are {near[0]} files: set caption_extension." if near else ""
    used = f"'{subset.class_tokens}' is used" if subset.class_tokens else "and no class_tokens"
    return f"{count} pictures in {folder} have no caption ({extension}), {used}.{hint}"


def _caption(path: Path | None, subset: Subset, data: DataConfig, notes: Notes) -> str | None:
    """Returns the text of a caption file, or None if there is none.

    Raises:
        UserError: it is empty (unless allowed) or no text.
    """
    if path is None:
        return None
    text = read_caption(path, subset.caption_separator, notes)
    if not text and data.empty_captions == "stop":
        raise UserError(
            "the caption file is empty",
            where=shown(path),
            remedy="Write a caption, delete the file, or set data.empty_captions = 'allow'.",
        )
    return text
