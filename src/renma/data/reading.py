"""The pictures of one folder or metadata file, with captions, masks and all that is odd."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from os.path import splitext
from pathlib import Path

from renma.config.data import DataConfig, Subset
from renma.core.counted import counted
from renma.core.errors import UserError
from renma.core.store import file_hash
from renma.data.caption_file import CaptionFiles, read_caption
from renma.data.item import Item
from renma.data.known_looks import KnownLooks
from renma.data.masks import Masks
from renma.data.metadata_file import described, read_entries
from renma.data.notes import Notes, shown
from renma.data.pictures import ENDINGS

NUMBERED = re.compile(r"(\d+)_(.*)")


def listing(folder: Path) -> tuple[list[str], list[str]]:
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


def picture_names(names: list[str]) -> list[str]:
    """Returns the names that end like pictures and are not hidden."""
    # Path would take four times as long, for thousands of names
    endings = ((name, splitext(name)[1]) for name in names if name[0] != ".")  # noqa: PTH122
    return [name for name, ending in endings if ending.lower() in ENDINGS]


def read_items(subset: Subset, data: DataConfig, notes: Notes) -> list[Item]:
    """Returns the pictures of one subset.

    Raises:
        UserError: no picture, a broken one, an empty caption file, a missing mask.
    """
    folder = Path(subset.image_dir)
    masks = Masks(Path(subset.mask_dir)) if subset.mask_dir else None
    described_ones = _from_metadata if subset.metadata_file else _from_folder
    looks = KnownLooks(folder, data.max_pixels)
    found = []
    for path, text in described_ones(subset, data, notes):
        try:
            look, content = looks.of(path)
        except UserError as error:
            if data.bad_pictures == "stop":
                raise
            notes.skip(path, error.line())
            continue
        for oddity in look.oddities:
            notes.add(oddity, path)
        mask = masks.of(path) if masks else None
        found.append(
            Item(
                path=path,
                width=look.width,
                height=look.height,
                caption=subset.class_tokens if text is None else text,
                captioned=text is not None,
                subset=subset,
                digest=content,
                mask=mask,
                mask_digest=file_hash(mask) if mask else "",
                transparent=look.transparent,
            )
        )
    _note_missing(folder, subset, found, notes)
    looks.save()
    return found


def _from_metadata(
    subset: Subset,
    data: DataConfig,  # noqa: ARG001 - both ways of describing pictures are called alike
    notes: Notes,
) -> Iterator[tuple[Path, str | None]]:
    for entry in read_entries(subset, notes):
        yield entry.path, described(entry, subset, notes)


def _from_folder(
    subset: Subset, data: DataConfig, notes: Notes
) -> Iterator[tuple[Path, str | None]]:
    folder = Path(subset.image_dir)
    files, dead = listing(folder)
    for name in picture_names(dead):
        notes.add("links that lead nowhere", folder / name)
    names = picture_names(files)
    if not names:
        raise _no_pictures(folder)
    captions = CaptionFiles(folder, files, subset.caption_extension)
    stems: dict[str, str] = {}
    for name in names:
        path = folder / name
        if path.stem in stems:
            notes.add("one caption file for several pictures", folder / stems[path.stem], path)
        stems[path.stem] = name
        yield path, _caption(captions.of(path), subset, data, notes)


def _note_missing(folder: Path, subset: Subset, found: list[Item], notes: Notes) -> None:
    """Names what a user may think is trained and is not: captions, inner folders."""
    # a folder without any captions is trained on its name on purpose (class and identifier)
    bare = sum(not item.captioned for item in found)
    if subset.metadata_file:
        if bare:
            used = f"'{subset.class_tokens}' is used" if subset.class_tokens else "and none is used"
            have = "has" if bare == 1 else "have"
            told = f"{counted(bare, 'picture')} in {shown(subset.metadata_file)}"
            notes.add(f"{told} {have} no caption, {used}.")
        return
    if bare and (bare < len(found) or not subset.class_tokens):
        notes.add(_without_caption(folder, bare, subset))
    for inner in sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")):
        if picture_names(listing(inner)[0]):
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
    have = "has" if count == 1 else "have"
    told = f"{counted(count, 'picture')} in {shown(folder)} {have} no caption ({extension})"
    return f"{told}, {used}.{hint}"


def _caption(path: Path | None, subset: Subset, data: DataConfig, notes: Notes) -> str | None:
    """Returns the text of a caption file, or None if there is none.

    Raises:
        UserError: it is empty (unless allowed) or no text.
    """
    if path is None:
        return None
    text = read_caption(path, subset.caption_separator, notes, many=subset.enable_wildcard)
    if not text and data.empty_captions == "stop":
        raise UserError(
            "the caption file is empty",
            where=shown(path),
            remedy="Write a caption, delete the file, or set data.empty_captions = 'allow'.",
        )
    return text
