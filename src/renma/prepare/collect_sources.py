"""What ``renma prepare collect`` is given: folders, archives, single pictures, as one list."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from renma.core.errors import UserError
from renma.core.place import near
from renma.data.caption_file import CaptionFiles
from renma.data.notes import Notes, shown
from renma.data.pictures import ENDINGS
from renma.data.reading import listing
from renma.prepare.archives import Limits, is_archive, unpack
from renma.prepare.folder_names import as_entry, find_names

CAPTIONS = (".txt", ".caption")


@dataclass(frozen=True)
class Origin:
    """One picture to collect.

    Args:
        path: where its bytes lie.
        source: what it is called in the record: its path, or that of its archive and its name in
            there.
        name: its path from its folder or archive on.
        captions: its caption files, by ending.
    """

    path: Path
    source: str
    name: PurePosixPath
    captions: dict[str, Path] = field(default_factory=dict)


def find_origins(
    sources: Iterable[Path],
    into: Path,
    limits: Limits,
    notes: Notes,
    tell: Callable[[str], None],
) -> list[Origin]:
    """Returns all pictures of all sources, in an order that only their names decide.

    Args:
        sources: folders, archives, pictures.
        into: where archives are unpacked.
        limits: what an archive may hold.
        notes: told what is left out.
        tell: takes a line before each archive.

    Raises:
        UserError: a source that is not there, holds no picture, or is an archive not to be trusted.
    """
    found: list[Origin] = []
    for number, source in enumerate(sources):
        if source.is_dir():
            found += _of_folder(source, notes)
        elif not source.exists():
            raise UserError(
                "there is no such file or folder",
                where=shown(source),
                remedy=shown(near(source, files=True)),
            )
        elif is_archive(source):
            tell(f"unpacking {shown(source)}")
            found += _of_archive(source, into / str(number), limits, notes)
        elif source.suffix.lower() in ENDINGS:
            found.append(_single(source))
        else:
            raise UserError(
                "is neither a folder, an archive nor a picture",
                where=shown(source),
                remedy=f"Known endings: {', '.join(sorted(ENDINGS))}, .zip, .tar, .tar.gz.",
            )
    once = {origin.source: origin for origin in found}
    return list(once.values())


def without(origins: Iterable[Origin], leave_out: Path, notes: Notes) -> list[Origin]:
    """Returns the pictures that a list does not name.

    Args:
        origins: all.
        leave_out: one name a line; lines that begin with # are remarks.
        notes: told which names are none of theirs.

    Raises:
        UserError: the list cannot be read, or names nothing that is there.
    """
    try:
        lines = leave_out.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot be read ({error})", where=leave_out) from None
    named = {line.rstrip("\r") for line in lines if line.strip() and not line.startswith("#")}
    kept, met = [], set()
    for origin in origins:
        entry = as_entry(str(origin.name))
        if entry in named:
            met.add(entry)
        else:
            kept.append(origin)
    if named and not met:
        raise UserError(
            f"names no picture that is there, such as '{sorted(named)[0]}'",
            where=leave_out,
            remedy="Names are seen from the folder that was linted.",
        )
    if unknown := sorted(named - met):
        notes.add(f"names in {shown(leave_out)} that no picture has", *unknown)
    return kept


def _of_folder(folder: Path, notes: Notes) -> list[Origin]:
    names, dead = find_names(folder)
    for name in dead:
        notes.add("left out, a link that leads nowhere", folder / name)
    base = folder.resolve()
    beside: dict[Path, dict[str, CaptionFiles]] = {}
    found = []
    for name in names:
        path = folder / name
        if path.parent not in beside:
            files = listing(path.parent)[0]
            beside[path.parent] = {e: CaptionFiles(path.parent, files, e) for e in CAPTIONS}
        captions = {e: file for e, c in beside[path.parent].items() if (file := c.of(path))}
        found.append(Origin(path, (base / name).as_posix(), PurePosixPath(name), captions))
    return found


def _single(path: Path) -> Origin:
    files = listing(path.parent)[0]
    captions = {e: f for e in CAPTIONS if (f := CaptionFiles(path.parent, files, e).of(path))}
    return Origin(path, path.resolve().as_posix(), PurePosixPath(path.name), captions)


def _of_archive(path: Path, into: Path, limits: Limits, notes: Notes) -> list[Origin]:
    members = {m.name: m.path for m in unpack(path, into, limits, _wanted, notes)}
    places: dict[PurePosixPath, list[str]] = {}
    for name in members:
        places.setdefault(PurePosixPath(name).parent, []).append(PurePosixPath(name).name)
    found = []
    for place, files in sorted(places.items()):
        beside = {ending: CaptionFiles(Path(place), files, ending) for ending in CAPTIONS}
        for file in sorted(files):
            if PurePosixPath(file).suffix.lower() not in ENDINGS:
                continue
            name = place / file
            captions = {
                ending: members[caption.as_posix()]
                for ending, known in beside.items()
                if (caption := known.of(Path(name)))
            }
            source = f"{path.resolve().as_posix()}!/{name}"
            found.append(Origin(members[str(name)], source, name, captions))
    if not found:
        raise UserError("holds no pictures", where=path)
    return found


def _wanted(name: str) -> bool:
    """Says whether an archive's member is needed; what macOS and others hide in there is not."""
    path = PurePosixPath(name)
    if any(part.startswith(".") or part == "__MACOSX" for part in path.parts):
        return False
    return path.suffix.lower() in ENDINGS or path.suffix.lower() in CAPTIONS
