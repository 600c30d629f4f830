"""Journals of the folders above and below: captions can be edited through any of them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from renma.caption.journal_file import PLACE, Record, changes_of, history
from renma.core.errors import UserError
from renma.data.folders import folders
from renma.data.notes import shown


def neighbours(folder: Path) -> Iterator[tuple[Path, list[Record]]]:
    """Yields folders above and below whose captions were edited, with what can be undone there."""
    here = Path(os.path.abspath(folder))  # noqa: PTH100 - links stay as they are
    with suppress(UserError):  # a folder below that cannot be read
        for place in (*here.parents, *folders(folder)):
            if place != folder and (place / PLACE).is_dir():
                with suppress(UserError, OSError):  # a damaged journal is told where it is used
                    yield place, [past for past in history(place) if not past.undone]


def remedy(folder: Path) -> str:
    """Returns where edits can be undone instead, or an empty string."""
    places = [f"`renma caption undo {shown(place)}`" for place, past in neighbours(folder) if past]
    return f"Edits were made through other folders: {', '.join(places)}." if places else ""


def that_wrote(held: Mapping[Path, bytes | None], folder: Path) -> list[Path]:
    """Returns the other folders through which renma wrote what files hold.

    Args:
        held: file to what it holds.
        folder: the folder that is asked about.

    Returns:
        None of them where somebody else wrote one of the files.
    """
    left = {os.path.abspath(path): data for path, data in held.items()}  # noqa: PTH100
    found = []
    for place, records in neighbours(folder) if left else ():
        mine = set[str]()
        for past in records:
            with suppress(UserError):
                for change in changes_of(place, past, {path.suffix for path in held}):
                    name = os.path.abspath(change.path)  # noqa: PTH100
                    if name in left and left[name] == change.new:
                        mine.add(name)
        if mine:
            found.append(place)
            left = {name: data for name, data in left.items() if name not in mine}
    return found if held and not left else []
