"""A folder of pictures: where it is, and all that a grid shows of it, in one compact table."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from renma.caption.drafts import tags_of
from renma.caption.folder import Captioned, Names, read_folder
from renma.caption.journal_file import PLACE, history, redoable
from renma.core.errors import MissingError, UserError
from renma.core.store import digest
from renma.data.folders import folders
from renma.data.notes import Notes
from renma.data.pictures import ENDINGS
from renma.data.reading import NUMBERED
from renma.studio.place import OWN, OutsideError, Place

MOST = 50_000
"""Pictures of a folder that is opened."""
_MASKS = ("-masks", "-erase")
_DEEP = 4
_FOLDERS = 300
_SKIPPED = {OWN, "cells", "samples", "state", "lora", "runs", "node_modules", "__pycache__"}


def opened(place: Place, path: str, *, write: bool = False) -> Path:
    """Returns the folder of pictures that a path of the web means; of a project, its ``train``.

    Args:
        place: the workspace.
        path: as the web sees it.
        write: whether something will be changed there.

    Raises:
        OutsideError: it, or a link in it, leads out of the workspace.
        UserError: there is no such folder, or it holds too many pictures.
    """
    folder = place.inside(path, write=write)
    if not folder.is_dir():
        raise MissingError("there is no such folder", where=repr(path[:80]))
    if (folder / "run.toml").is_file() and (folder / "train").is_dir():
        folder = place.inside(place.shown(folder / "train"), write=write)
    _need_inside(folder, place)
    return folder


def _need_inside(folder: Path, place: Place) -> None:
    """Makes sure that no link of a folder shows what lies outside of the workspace.

    Raises:
        OutsideError: one does.
        UserError: the folder is not one of pictures alone: it holds far too much.
    """
    seen = 0
    own = [where for where in (folder / PLACE.parts[0], folder / PLACE) if where.exists()]
    for where in own:
        _need_link_inside(where, place)
    for inner in (*folders(folder, True, Notes()), *own):
        with os.scandir(inner) as entries:
            for entry in entries:
                seen += 1
                if seen > 4 * MOST:
                    raise UserError(f"holds more than {4 * MOST:,} files", where=folder.name)
                if entry.is_symlink():
                    _need_link_inside(Path(entry.path), place)


def _need_link_inside(link: Path, place: Place) -> None:
    try:
        place.inside(place.shown(link))
    except OutsideError:
        raise OutsideError(
            f"holds a link that leads out of the workspace: {link.name!r}",
            where=link.parent.name,
            remedy="Copy the file itself into the folder.",
        ) from None


def found_in(place: Place, path: str = "") -> list[dict[str, Any]]:
    """Returns the folders of pictures below a folder, each with the number of pictures in it.

    Folders of the outputs of runs, hidden ones and links are passed over.
    """
    top = place.inside(path)
    rows: dict[Path, int] = {}
    for where, count in _with_pictures(top):
        if NUMBERED.fullmatch(where.name) and where != top:  # a set is opened as a whole, too
            rows[where.parent] = rows.get(where.parent, 0) + count
        rows[where] = rows.get(where, 0) + count
    found = [(where, count) for where, count in sorted(rows.items()) if count][:_FOLDERS]
    return [{"path": place.shown(where), "pictures": count} for where, count in found]


def _with_pictures(top: Path) -> Iterator[tuple[Path, int]]:
    """Yields folders with the number of pictures directly in them; masks are not among them."""
    for here, inner, files in os.walk(top):
        where = Path(here)
        deep = len(where.relative_to(top).parts)
        kept = [n for n in inner if n not in _SKIPPED and not n.startswith(".")]
        inner[:] = sorted(n for n in kept if not n.endswith(_MASKS)) if deep < _DEEP else []
        yield where, sum(_is_picture(name) for name in files)


def _is_picture(name: str) -> bool:
    return Path(name).suffix.lower() in ENDINGS and not name.startswith(".")


def table(folder: Path, place: Place, extension: str, separator: str) -> dict[str, Any]:
    """Returns all that a grid shows of a folder.

    Args:
        folder: as :func:`opened` returns it.
        place: the workspace.
        extension: ending of captions.
        separator: what stands between tags.

    Returns:
        Columns of one length: ``names`` from the folder on, ``bytes`` of each picture, ``rows``
        (indices into ``tags``, or None without a caption), besides what the folder as a whole says.

    Raises:
        UserError: there are no pictures, too many, or captions that are no text.
    """
    notes = Notes()
    found, odd = _named(read_folder(folder, extension, notes=notes), folder)
    if len(found) > MOST:
        raise UserError(
            f"holds {len(found):,} pictures, at most {MOST:,} are shown", where=folder.name
        )
    counts: Counter[str] = Counter()
    read = [None if e.text is None else tags_of({"": e.text}, separator) for _, e in found]
    for tags in read:
        counts.update(tags or ())
    order = [tag for tag, _ in counts.most_common()]
    index = {tag: number for number, tag in enumerate(order)}
    files = Counter(each.file for _, each in found)
    names = [name for name, _ in found]
    left = [f"names that are no text, left out: {odd}"] if odd else []
    return {
        "path": place.shown(folder),
        "project": project_of(folder, place),
        "extension": extension,
        "separator": separator,
        "stamp": stamp(names),
        "names": names,
        "bytes": [_size(each.picture) for _, each in found],
        "tags": order,
        "rows": [None if tags is None else [index[tag] for tag in tags] for tags in read],
        "shared": [place for place, (_, each) in enumerate(found) if files[each.file] > 1],
        "notes": [*notes.lines(), *left],
        **past(folder),
    }


def project_of(folder: Path, place: Place) -> str | None:
    """Returns the project that a folder belongs to: the nearest with a run.toml, or None."""
    for each in (folder, *folder.parents):
        if place.root not in each.parents:
            return None
        if (each / "run.toml").is_file():
            return place.shown(each)
    return None


def _named(found: Sequence[Captioned], folder: Path) -> tuple[list[tuple[str, Captioned]], int]:
    """Returns pictures with their names from the folder on, and how many names are no text."""
    names = Names(folder)
    rows = [(names.of(each.picture), each) for each in found]
    kept = [(name, each) for name, each in rows if _is_text(name)]
    return kept, len(rows) - len(kept)


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # gone since the folder was listed
        return 0


def stamp(names: Sequence[str]) -> str:
    """Returns what tells one list of pictures from another."""
    return digest(names)[:16]


def past(folder: Path) -> dict[str, Any]:
    """Returns the edits of a folder's captions: the last that can be undone, and done again."""
    records = history(folder)
    done = [record for record in records if not record.undone]
    waiting = redoable(records)

    def row(record: Any) -> dict[str, Any]:
        return {"verb": record.verb, "files": record.files, "time": record.time}

    return {
        "undo": row(done[-1]) if done else None,
        "redo": row(waiting[0]) if waiting else None,
        "edits": len(done),
    }
