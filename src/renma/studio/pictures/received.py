"""Pictures that arrive: looked at before they are let into a folder, and never laid over others."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from renma.core.errors import UserError
from renma.core.text_file import decode
from renma.data.notes import Notes
from renma.data.pictures import ENDINGS, inspect
from renma.data.reading import listing, picture_names
from renma.prepare.archives import Limits, Unpacked, is_archive, unpack
from renma.prepare.safe_name import Names, safe_name
from renma.studio.pictures.folder import MOST

MOST_BYTES = 100 * 2**20
"""Of one picture."""
MOST_ARCHIVE = 2 * 2**30
MOST_PIXELS = 64_000_000
_CAPTIONS = (".txt", ".caption", ".tags")
_LIMITS = Limits(files=20_000, size=4 * 2**30, ratio=200)
_MOST_TEXT = 200_000
_KINDS = {".zip", ".cbz"}


@dataclass
class Arrived:
    """What became of what was sent.

    Attributes:
        kept: names in the folder.
        refused: lines about what was left out.
    """

    kept: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


def kind_of(name: str) -> int:
    """Returns how many bytes a file of a name may have.

    Raises:
        UserError: it is neither picture nor zip.
    """
    suffix = PurePosixPath(name).suffix.lower()
    if suffix in ENDINGS:
        return MOST_BYTES
    if suffix in _KINDS:
        return MOST_ARCHIVE
    wanted = ", ".join(sorted(ENDINGS | _KINDS))
    raise UserError("is no picture", where=repr(name[:80]), remedy=f"Taken are {wanted}.")


def take(sent: Path, name: str, folder: Path) -> Arrived:
    """Lets what was sent into a folder, if it is what it says.

    Args:
        sent: the file, somewhere of ours; it is moved or removed.
        name: as the sender calls it; only its ending and a safe form of its stem are used.
        folder: exists.

    Raises:
        UserError: the archive cannot be read, or is a bomb.
    """
    files, _ = listing(folder)
    room = MOST - len(picture_names(files))
    names = Names(PurePosixPath(each).stem for each in files)
    arrived = Arrived()
    if is_archive(Path(name)):
        _take_archive(sent, name, folder, names, room, arrived)
    elif room < 1:
        arrived.refused.append(f"{safe_name(name)}: the folder holds {MOST:,} pictures")
    else:
        _take_one(sent, PurePosixPath(name), folder, names, arrived)
    return arrived


def _take_archive(
    sent: Path, name: str, folder: Path, names: Names, room: int, arrived: Arrived
) -> None:
    notes, into = Notes(), sent.with_name(f"{sent.name}-members")
    wanted = {*ENDINGS, *_CAPTIONS}
    zipped = sent.rename(sent.with_name(f"{sent.name}{Path(name).suffix.lower()}"))
    try:
        members = unpack(
            zipped, into, _LIMITS, lambda n: PurePosixPath(n).suffix.lower() in wanted, notes
        )
        captions = _captions(members)
        for each in members:
            inside = PurePosixPath(each.name)
            if inside.suffix.lower() not in ENDINGS:
                continue
            if len(arrived.kept) >= room:
                arrived.refused.append(f"the rest is left out: the folder holds {MOST:,} pictures")
                break
            if stem := _take_one(each.path, inside, folder, names, arrived):
                _take_captions(captions.get(inside.with_suffix("").as_posix(), ()), folder, stem)
    except UserError as error:  # the sender knows the archive by another name
        raise UserError(error.what, where=safe_name(name), remedy=error.remedy) from None
    finally:
        zipped.unlink(missing_ok=True)
        shutil.rmtree(into, ignore_errors=True)
    arrived.refused += [line.replace(zipped.name, safe_name(name)) for line in notes.lines()]
    if not arrived.kept and not arrived.refused:
        arrived.refused.append(f"{safe_name(name)}: holds no picture")


def _captions(members: Iterable[Unpacked]) -> dict[str, list[Unpacked]]:
    found: dict[str, list[Unpacked]] = {}
    for each in members:
        inside = PurePosixPath(each.name)
        if inside.suffix.lower() in _CAPTIONS:
            found.setdefault(inside.with_suffix("").as_posix(), []).append(each)
    return found


def _take_one(
    sent: Path, name: PurePosixPath, folder: Path, names: Names, arrived: Arrived
) -> str | None:
    """Moves a picture into the folder, unless it is broken or too large; returns its new stem."""
    last = safe_name(name.name)
    try:
        if sent.stat().st_size > MOST_BYTES:
            raise UserError(f"has more than {MOST_BYTES // 2**20} MiB")
        inspect(sent, MOST_PIXELS)
    except UserError as error:
        arrived.refused.append(f"{last}: {error.what}")
        sent.unlink(missing_ok=True)
        return None
    stem = names.take(PurePosixPath(safe_name(name.stem)))
    target = f"{stem}{name.suffix.lower()}"
    _move(sent, folder / target)
    arrived.kept.append(target)
    return stem


def _take_captions(found: Iterable[Unpacked], folder: Path, stem: str) -> None:
    for each in found:
        data = each.path.read_bytes()
        if len(data) > _MOST_TEXT:
            continue
        try:
            decode(data, each.name)
        except UserError:  # no text: the picture comes without it
            continue
        _move(each.path, folder / f"{stem}{PurePosixPath(each.name).suffix.lower()}")


def _move(source: Path, target: Path) -> None:
    """Moves a file to where nothing is; a file that came there meanwhile stays."""
    try:
        with source.open("rb") as given, target.open("xb") as kept:
            shutil.copyfileobj(given, kept)
    except OSError as error:
        if not isinstance(error, FileExistsError):
            target.unlink(missing_ok=True)
        raise UserError(f"cannot be written ({error.strerror})", where=target.name) from None
    source.unlink()
