"""Which pictures a step works on, and what it names what it makes of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from renma.core.store import file_hash
from renma.prepare.folder_names import find_names

RECORD = ".renma"
"""The hidden folder in which a step keeps what it did."""


@dataclass(frozen=True)
class Source:
    """One picture to work on.

    Args:
        path: the file.
        name: its path from the folder on, with forward slashes.
        digest: SHA-256 of its bytes; empty where they cannot be read.
        target: name of what is made of it, without ending; no two sources share one.
        unreadable: why its bytes cannot be read; empty if they can.
    """

    path: Path
    name: str
    digest: str
    target: str
    unreadable: str = ""


def find(folder: Path) -> list[Source]:
    """Returns the pictures of a folder and the folders in it; hidden ones are passed over.

    Raises:
        UserError: no such folder, or no picture in it.
    """
    names, dead = find_names(folder)
    targets = _targets([*names, *dead])
    found = [_source(folder, name, targets[name]) for name in names]
    lost = "is a link that leads nowhere"
    found += [Source(folder / name, name, "", targets[name], lost) for name in dead]
    return sorted(found, key=lambda source: source.name)


def _source(folder: Path, name: str, target: str) -> Source:
    try:
        return Source(folder / name, name, file_hash(folder / name), target)
    except OSError as error:  # nobody may read it, or it vanished just now
        return Source(folder / name, name, "", target, f"cannot be read ({error.strerror})")


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
