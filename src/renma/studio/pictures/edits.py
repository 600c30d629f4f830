"""Captions changed from the page: many at once with a preview, one by hand, and taken back.

Everything goes through ``renma.caption``, so every change stands in the folder's journal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from renma.caption import edit, filters, journal
from renma.caption.drafts import tags_of
from renma.caption.folder import dotted
from renma.caption.recipe import recipe_of
from renma.caption.texts import Entry, FolderTexts
from renma.config import validate
from renma.config.caption._texts import TextOptions
from renma.config.caption.edit import EditOptions
from renma.core.errors import MissingError, UserError
from renma.core.expression import EndlessError
from renma.core.text_file import decode
from renma.data.caption_file import CaptionFiles
from renma.data.notes import shown
from renma.data.reading import listing, picture_names
from renma.studio.pictures.told import Told

SHOWN = 20
"""Captions that a preview shows."""


class HalfWrittenError(UserError):
    """An edit that is none, or none yet."""


def changed(
    folder: Path, names: Sequence[str] | None, given: Mapping[str, Any], *, write: bool
) -> dict[str, Any]:
    """Edits the captions of pictures, or shows what that would do.

    Args:
        folder: of the pictures.
        names: of those meant, from the folder on; None means all.
        given: the edit, as the options of ``renma caption edit``.
        write: whether the captions are written.

    Returns:
        ``count`` of captions that change, the first with their text before and after, warnings.

    Raises:
        HalfWrittenError: nothing to do, or an expression that is none or takes too long.
        UserError: a name of no picture, or captions that cannot be read or written.
    """
    told = Told()
    options = _read({**given, "folder": folder, "dry_run": not write}, told)
    texts = FolderTexts(options, told)
    try:
        return _done(texts, names, options, told)
    except EndlessError as error:
        raise HalfWrittenError(error.what, where=error.where, remedy=error.remedy) from None


def _done(
    texts: FolderTexts, names: Sequence[str] | None, options: EditOptions, told: Told
) -> dict[str, Any]:
    chosen = _chosen(texts, names, filters.parse(options.where), options.separator)
    bare = [place for place in chosen if not texts.entries[place].parts]
    for place in bare:  # who chooses a picture and adds a tag means it to have a caption
        texts.entries[place] = Entry(texts.entries[place].name, {"caption": ""})
    found = edit.change(texts, chosen, options, told)
    first = [
        {
            "name": texts.entries[place].name,
            "before": _text(texts.entries[place].parts),
            "after": _text(parts),
        }
        for place, parts in list(found.items())[:SHOWN]
    ]
    return {
        "count": len(found),
        "chosen": len(chosen),
        "bare": len(bare),
        "first": first,
        "warnings": told.warnings,
        "written": not options.dry_run,
    }


def _read(given: Mapping[str, Any], told: Told) -> EditOptions:
    try:
        options = validate(EditOptions, given, "the edit of captions")
        edit.check(options, told)
        recipe_of(options)
        filters.parse(options.where)
    except UserError as error:
        raise HalfWrittenError(error.what, where=error.where, remedy=error.remedy) from None
    return options


def _chosen(
    texts: FolderTexts, names: Sequence[str] | None, wanted: filters.Filter, separator: str
) -> list[int]:
    places = range(len(texts.entries)) if names is None else _places(texts, names)
    if not wanted.text.strip():
        return [*places]
    return [p for p in places if wanted.fits(tags_of(texts.entries[p].parts, separator))]


def _places(texts: FolderTexts, names: Sequence[str]) -> list[int]:
    """Returns the captions of named pictures, each once, in the folder's order.

    Raises:
        UserError: there is no such picture.
    """
    for name in names:
        if name not in texts.pictures:
            raise MissingError(f"there is no picture {name[:80]!r}", remedy="Load the page anew.")
    return sorted({texts.pictures[name] for name in names})


def _text(parts: Mapping[str, str]) -> str | None:
    return parts.get("caption")


def mistake_in(where: str) -> str:
    """Returns what is wrong with a condition, or an empty string."""
    try:
        filters.parse(where, "filter")
    except UserError as error:
        return error.line()
    return ""


def fitting(folder: Path, where: str, extension: str, separator: str) -> dict[str, Any]:
    """Returns which pictures a condition is met by.

    Raises:
        UserError: it is no condition.
    """
    wanted, told = filters.parse(where, "filter"), Told()
    texts = FolderTexts(TextOptions(folder=folder, extension=extension), told)
    chosen = set(edit.fitting(texts, wanted, separator, told, bare=True))
    names = [name for name, place in texts.pictures.items() if place in chosen]
    return {"names": names, "warnings": told.warnings}


def caption_of(folder: Path, name: str, extension: str) -> dict[str, Any]:
    """Returns the caption of a picture as it stands in its file.

    Raises:
        UserError: there is no such picture, or its caption is no text.
    """
    file = _caption_file(folder, name, dotted(extension))
    held = file.read_bytes() if file.is_file() else None
    text, encoding = (None, "") if held is None else decode(held, shown(file))
    return {"name": name, "text": text, "encoding": encoding}


def write_caption(
    folder: Path, name: str, extension: str, was: str | None, text: str | None
) -> dict[str, Any]:
    """Writes the caption of one picture.

    Args:
        folder: of the pictures.
        name: of the picture, from the folder on.
        extension: ending of captions.
        was: what the page believes that it says; None where it has none.
        text: what it is to say; None removes the file.

    Raises:
        UserError: there is no such picture, or somebody else wrote its caption meanwhile.
    """
    file = _caption_file(folder, name, dotted(extension))
    held = file.read_bytes() if file.is_file() else None
    now = None if held is None else decode(held, shown(file))[0]
    if now != was:
        raise UserError(
            "was written by somebody else meanwhile", where=shown(name), remedy="Look at it again."
        )
    told = Told()
    change = journal.Edit(held, text)
    count = journal.write(folder, "edit", {file: change}, told, diff=False, dry_run=False)
    return {"count": count, "warnings": told.warnings}


def _caption_file(folder: Path, name: str, extension: str) -> Path:
    """Returns where the caption of a picture is, or would be written.

    Raises:
        UserError: there is no such picture.
    """
    # a name of the web is only compared with names that are there, never opened
    parent, _, last = name.rpartition("/")
    inner = _inner(folder, parent)
    files, _ = listing(inner)
    if last not in picture_names(files):
        raise MissingError(f"there is no picture {name[:80]!r}", remedy="Load the page anew.")
    picture = inner / last
    there = CaptionFiles(inner, files, extension).of(picture)
    return there or picture.with_name(picture.stem + extension)


def _inner(folder: Path, parent: str) -> Path:
    here = folder
    for part in parent.split("/") if parent else ():
        names = {each.name for each in here.iterdir() if each.is_dir() and not each.is_symlink()}
        if part not in names or part.startswith("."):
            raise MissingError(f"there is no picture in {parent[:80]!r}")
        here = here / part
    return here


def turned(folder: Path, extension: str, *, back: bool, force: bool = False) -> dict[str, Any]:
    """Takes the last edit of a folder's captions back, or does it again.

    Raises:
        UserError: there is none, or somebody else changed a file since (unless forced).
    """
    told, turn = Told(), journal.undo if back else journal.redo
    count = turn(folder, told, force=force, endings=(dotted(extension),))
    return {"count": count, "lines": told.lines, "warnings": told.warnings}
