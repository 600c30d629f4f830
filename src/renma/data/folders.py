"""The folders inside a folder of pictures: one rule for everything that takes them too."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from renma.core.errors import UserError
from renma.data.notes import Notes, shown


def folders(folder: Path, recursive: bool = True, notes: Notes | None = None) -> Iterator[Path]:
    """Yields a folder and, if wanted, those inside it, each before its own, by name.

    Hidden folders are passed over. A link to a folder is not followed: it leads out of the folder,
    where nobody expects changes, or back into it. The folder itself may be a link.

    Args:
        folder: where to begin.
        recursive: take the folders inside it too.
        notes: told the links.

    Raises:
        UserError: one of them cannot be read.
    """
    yield folder
    if not recursive:
        return
    try:
        with os.scandir(folder) as entries:
            inner = sorted((e.name, e.is_symlink()) for e in entries if _is_folder(e))
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", where=shown(folder)) from None
    for name, link in inner:
        if name.startswith("."):
            continue
        if not link:
            yield from folders(folder / name, recursive, notes)
        elif notes is not None:
            notes.add("links to folders are not followed", folder / name)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads back to itself
        return False
