"""From folders to items: kohya's ``10_name`` convention, written-out data sets, caption files."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from renma.config.data import DataConfig, Dataset, DatasetOptions, Subset, SubsetOptions
from renma.core.errors import UserError
from renma.core.store import file_hash
from renma.data.item import Item
from renma.data.pictures import ENDINGS, measure

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
    notes = _Notes()
    sets = tuple(
        ScannedSet(dataset, tuple(i for s in dataset.subsets for i in _items(s, data, notes)))
        for dataset in datasets
    )
    for scanned in sets:
        if not any(not item.subset.is_reg for item in scanned.items):
            folders = ", ".join(s.image_dir for s in scanned.dataset.subsets)
            raise UserError("holds no training pictures", where=folders or "a data set")
    return Scan(sets, tuple(notes.warnings), tuple(notes.skipped))


class _Notes:
    """What a scan has to tell."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.skipped: list[str] = []


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
    given = Path(name).expanduser()
    tried = [base / given] if given.is_absolute() else [base / given, Path.cwd() / given]
    for path in tried:
        if path.is_dir():
            return path.resolve()
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
    pictures = any(True for _ in _picture_paths(parent))
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


def _picture_paths(folder: Path) -> Iterator[Path]:
    """Yields picture files in the order of their names; scandir, because names may hold [ or *."""
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if _is_file(entry))
    for name in names:
        if Path(name).suffix.lower() in ENDINGS and not name.startswith("."):
            yield folder / name


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:
        return False


def _items(subset: Subset, data: DataConfig, notes: _Notes) -> Iterator[Item]:
    folder = Path(subset.image_dir)
    stems: dict[str, str] = {}
    bare = 0
    empty = True
    for path in _picture_paths(folder):
        empty = False
        if path.stem in stems:
            notes.warnings.append(
                f"{path} and {stems[path.stem]} have one caption file between them."
            )
        stems[path.stem] = path.name
        try:
            width, height = measure(path, data.max_pixels)
            _decodes(path)
        except UserError as error:
            if data.bad_pictures == "stop":
                raise
            notes.skipped.append(str(path))
            notes.warnings.append(f"skipped: {error.line()}")
            continue
        text = _caption(path.with_suffix(subset.caption_extension), data, notes)
        bare += text is None and not subset.class_tokens
        caption = subset.class_tokens if text is None else text
        yield Item(path, width, height, caption, text is not None, subset, file_hash(path))
    if empty:
        raise UserError(
            "holds no pictures",
            where=folder,
            remedy=f"Known endings: {', '.join(sorted(ENDINGS))}.",
        )
    if bare:
        notes.warnings.append(_without_caption(folder, bare, subset.caption_extension))


def _decodes(path: Path) -> None:
    """Reads all pixels once, so that a broken file is found now and not in the middle of a run."""
    from PIL import Image

    try:
        with Image.open(path) as picture:
            picture.load()
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise UserError(
            f"is a broken picture ({error})", where=path, remedy="Remove or replace it."
        ) from None


def _without_caption(folder: Path, count: int, extension: str) -> str:
    others = {".txt", ".caption"} - {extension}
    near = [e for e in sorted(others) if any(p.suffix == e for p in folder.iterdir())]
    hint = f" There are {near[0]} files: set caption_extension." if near else ""
    return f"{count} pictures in {folder} have no caption ({extension}) and no class_tokens.{hint}"


def _caption(path: Path, data: DataConfig, notes: _Notes) -> str | None:
    """Returns the first line of a caption file, or None if there is none.

    Raises:
        UserError: it is empty (unless allowed) or no text.
    """
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", where=path) from None
    lines = [line.strip() for line in _decoded(raw, path, notes).splitlines() if line.strip()]
    if len(lines) > 1:
        notes.warnings.append(f"{path} has {len(lines)} lines; only the first is used.")
    if not lines and data.empty_captions == "stop":
        raise UserError(
            "the caption file is empty",
            where=path,
            remedy="Write a caption, delete the file, or set data.empty_captions = 'allow'.",
        )
    return lines[0] if lines else ""


def _decoded(raw: bytes, path: Path, notes: _Notes) -> str:
    """Decodes UTF-8, UTF-16 with byte order mark, else the Japanese Windows code page."""
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return raw.decode("utf-16")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        pass
    try:
        text = raw.decode("cp932")
    except UnicodeDecodeError:
        raise UserError("is not text in UTF-8", where=path, remedy="Save it as UTF-8.") from None
    notes.warnings.append(f"{path} is not UTF-8; read as cp932 (Shift JIS).")
    return text
