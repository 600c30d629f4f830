"""The names of all pictures in a folder, and how a name stands in a list of names."""

from __future__ import annotations

from pathlib import Path

from renma.core.errors import UserError
from renma.core.place import near
from renma.data.folders import folders
from renma.data.notes import shown
from renma.data.pictures import ENDINGS
from renma.data.reading import listing, picture_names


def find_names(folder: Path) -> tuple[list[str], list[str]]:
    """Returns the names of all pictures in a folder and below, and of links that lead nowhere.

    Hidden folders and links to folders are passed over.

    Raises:
        UserError: no such folder, or no picture in it.
    """
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "there is no such folder"
        raise UserError(what, where=shown(folder), remedy=shown(near(folder)))
    names: list[str] = []
    dead: list[str] = []
    for place in folders(folder):
        try:
            files, lost = listing(place)
        except OSError as error:
            raise UserError(f"cannot be read ({error.strerror})", where=shown(place)) from None
        names += [(place / n).relative_to(folder).as_posix() for n in picture_names(files)]
        dead += [(place / n).relative_to(folder).as_posix() for n in picture_names(lost)]
    if not names and not dead:
        raise UserError(
            "holds no pictures",
            where=shown(folder),
            remedy=f"Known endings: {', '.join(sorted(ENDINGS))}.",
        )
    return sorted(names), sorted(dead)


def as_entry(name: str) -> str:
    """Returns a picture's name as it stands in a list: one line that is no remark."""
    text = shown(name)
    return f"./{text}" if text.startswith("#") or text != text.strip() else text
