"""Which pictures a step works on, and what it names what it makes of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from renma.core.errors import UserError
from renma.core.store import file_hash
from renma.data.pictures import ENDINGS
from renma.data.reading import listing, picture_names

RECORD = ".renma"
"""The hidden folder in which a step keeps what it did."""


@dataclass(frozen=True)
class Source:
    """One picture to work on.

    Args:
        path: the file.
        name: its path from the folder on, with forward slashes.
        digest: SHA-256 of its bytes.
        target: name of what is made of it, without ending; no two sources share one.
    """

    path: Path
    name: str
    digest: str
    target: str


def find(folder: Path) -> list[Source]:
    """Returns the pictures of a folder and the folders in it; hidden ones are passed over.

    Raises:
        UserError: no such folder, or no picture in it.
    """
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "there is no such folder"
        raise UserError(what, where=folder)
    names = [path.relative_to(folder).as_posix() for path in _walk(folder)]
    if not names:
        raise UserError(
            "holds no pictures",
            where=folder,
            remedy=f"Known endings: {', '.join(sorted(ENDINGS))}.",
        )
    targets = _targets(names)
    return [
        Source(folder / name, name, _hash(folder / name), targets[name]) for name in sorted(names)
    ]


def _walk(folder: Path) -> Iterator[Path]:
    """Yields pictures; a link to a folder is not followed, it could lead back."""
    yield from (folder / name for name in picture_names(listing(folder)[0]))
    with os.scandir(folder) as entries:
        inner = sorted(e.name for e in entries if e.is_dir(follow_symlinks=False))
    for name in inner:
        if not name.startswith("."):
            yield from _walk(folder / name)


def _hash(path: Path) -> str:
    try:
        return file_hash(path)
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror})", where=path) from None


def _targets(names: list[str]) -> dict[str, str]:
    """Returns each picture's name without ending; ``a.png`` and ``a.jpg`` keep it as ``a-png``.

    File systems of Windows and macOS take ``A`` and ``a`` for one name.
    """
    stems: dict[str, list[str]] = {}
    for name in names:
        stems.setdefault(_bare(name).casefold(), []).append(name)
    found, taken = {}, {stem for stem, alike in stems.items() if len(alike) == 1}
    for alike in stems.values():
        for name in alike:
            target = _bare(name)
            if len(alike) > 1:
                target = f"{target}-{PurePosixPath(name).suffix[1:].lower()}"
                while target.casefold() in taken:
                    target += "_"
                taken.add(target.casefold())
            found[name] = target
    return found


def _bare(name: str) -> str:
    return str(PurePosixPath(name).with_suffix(""))
