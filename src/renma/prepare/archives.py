"""Taking pictures out of zip and tar archives that nobody vouches for.

No name in an archive is ever used as a path: members are written under numbers into a folder of
ours, so that nothing can land elsewhere; hostile names are left out and said all the same. Sizes
are counted while unpacking, because what an archive says of itself may be a lie.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import shutil
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Protocol, cast

from renma.core.errors import UserError
from renma.core.text_file import JAPANESE
from renma.data.notes import Notes, shown

ENDINGS = (
    ".zip", ".cbz", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2", ".cbt",
)  # fmt: skip
"""Endings of archives that are opened."""
FOREIGN = (".7z", ".rar", ".cbr", ".cb7", ".lzh", ".lha", ".zst", ".ace")
"""Endings of archives that only other programs open."""
_MIB = 2**20
_HARMLESS = 16 * _MIB
"""Bytes that may come out of however little, and that headers may take."""
_CHUNK = 2**18
_BROKEN = (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, lzma.LZMAError,
           struct.error, NotImplementedError, ValueError, IndexError)  # fmt: skip
_UTF8_FLAG, _ENCRYPTED_FLAG = 0x800, 0x1


@dataclass(frozen=True)
class Limits:
    """What an archive may hold.

    Args:
        files: members.
        size: bytes, unpacked.
        ratio: unpacked bytes over the archive's.
    """

    files: int
    size: int
    ratio: float


@dataclass(frozen=True)
class Unpacked:
    """One file out of an archive.

    Args:
        name: its path in the archive, with forward slashes.
        path: where its bytes lie now.
    """

    name: str
    path: Path


class _Readable(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


def is_archive(path: Path) -> bool:
    """Says whether a file's name is that of an archive, whether it can be opened here or not."""
    return path.name.lower().endswith((*ENDINGS, *FOREIGN))


def unpack(
    path: Path, into: Path, limits: Limits, wanted: Callable[[str], bool], notes: Notes
) -> list[Unpacked]:
    """Writes the wanted members of an archive into a folder, under numbers.

    Args:
        path: the archive.
        into: a folder, made if missing; nothing is written elsewhere.
        limits: what it may hold.
        wanted: says of a member's name whether it is needed.
        notes: told what is left out, and why.

    Raises:
        UserError: it is encrypted, broken, of a kind that is not opened here, or a bomb. What was
            unpacked so far is removed.
    """
    if path.name.lower().endswith(FOREIGN):
        raise UserError(
            "is an archive that is not opened here",
            where=shown(path),
            remedy="Unpack it with its own program, or make it a zip.",
        )
    into.mkdir(parents=True, exist_ok=True)
    try:
        with _reasons(path):
            if zipfile.is_zipfile(path):
                members = _of_zip(path, notes)
            else:
                members = _of_tar(path, limits, notes)
            return list(_written(members, path, into, limits, wanted, notes))
    except BaseException:
        shutil.rmtree(into, ignore_errors=True)
        raise


def hostile(name: str) -> str:
    """Returns why a member's name is not taken, or an empty string."""
    slashed = name.replace("\\", "/")
    if not slashed.strip("/. ") or "\0" in name:
        return "has no name"
    if slashed.startswith("/"):
        return "its name starts at the root"
    if re.match(r"[A-Za-z]:", slashed):
        return "its name starts with a drive"
    if ".." in slashed.split("/"):
        return "its name leads out of the archive"
    return ""


@dataclass(frozen=True)
class _Member:
    name: str
    open: Callable[[], _Readable]


def _written(
    members: Iterator[_Member],
    path: Path,
    into: Path,
    limits: Limits,
    wanted: Callable[[str], bool],
    notes: Notes,
) -> Iterator[Unpacked]:
    meter = _Meter(path, limits)
    for number, member in enumerate(members):
        meter.count_file(number + 1)
        label = f"{path.name}/{member.name}"
        if reason := hostile(member.name):
            notes.add(f"left out of an archive, {reason}", label)
            continue
        name = str(PurePosixPath(member.name.replace("\\", "/")))
        if name.lower().endswith((*ENDINGS, *FOREIGN)):
            notes.add("left out, an archive inside an archive is not opened: unpack it", label)
            continue
        if not wanted(name):
            continue
        target = into / f"{number:07d}{PurePosixPath(name).suffix.lower()[:12]}"
        try:
            meter.copy(member.open(), target)
        except (zipfile.BadZipFile, NotImplementedError) as error:  # one member of a sound zip
            target.unlink(missing_ok=True)
            notes.add(f"left out of an archive, cannot be unpacked ({error})", label)
            continue
        yield Unpacked(name, target)


def _of_zip(path: Path, notes: Notes) -> Iterator[_Member]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if info.is_dir():
                continue
            if info.flag_bits & _ENCRYPTED_FLAG:
                raise UserError(
                    "is encrypted",
                    where=shown(path),
                    remedy="Unpack it with its password, then give the folder.",
                )
            name = _zip_name(info)
            if (info.external_attr >> 28) == 0xA:  # Unix: a symbolic link
                notes.add("left out of an archive, it is a link", f"{path.name}/{name}")
                continue
            yield _Member(name, lambda info=info: cast(_Readable, archive.open(info)))


def _zip_name(info: zipfile.ZipInfo) -> str:
    """Returns a member's name; Japanese Windows writes its own code page without saying so."""
    if info.flag_bits & _UTF8_FLAG:
        return info.orig_filename
    raw = info.orig_filename.encode("cp437")
    for encoding in ("utf-8", JAPANESE):
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    return info.orig_filename


def _of_tar(path: Path, limits: Limits, notes: Notes) -> Iterator[_Member]:
    with _decompressed(path) as plain:
        counted = _Counted(plain, path, limits)
        # as a stream: every byte passes the counter, also those of headers and of what is skipped
        with tarfile.open(fileobj=cast(IO[bytes], counted), mode="r|") as archive:
            for info in archive:
                counted.allow(info.size)
                if info.issym() or info.islnk():
                    notes.add("left out of an archive, it is a link", f"{path.name}/{info.name}")
                elif info.isreg():
                    yield _Member(
                        info.name, lambda info=info: cast(_Readable, archive.extractfile(info))
                    )
                elif not info.isdir():
                    notes.add("left out of an archive, it is no file", f"{path.name}/{info.name}")


@contextmanager
def _decompressed(path: Path) -> Iterator[_Readable]:
    with path.open("rb") as file:
        head = file.read(6)
    openers = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}
    for magic, opener in openers.items():
        if head.startswith(magic):
            with opener(path, "rb") as plain:
                yield cast(_Readable, plain)
            return
    with path.open("rb") as plain:
        yield plain


class _Counted:
    """A stream that ends in an error where an archive's headers or padding have no end."""

    def __init__(self, plain: _Readable, path: Path, limits: Limits) -> None:
        self._plain, self._path, self._limits = plain, path, limits
        self._left, self._read = _HARMLESS, 0

    def allow(self, size: int) -> None:
        """Lets a member of this size pass, and the next header."""
        self._left = size + _HARMLESS

    def read(self, size: int = -1) -> bytes:
        """Reads on."""
        data = self._plain.read(size)
        self._left -= len(data)
        self._read += len(data)
        if self._left < 0 or self._read > 2 * self._limits.size + _HARMLESS:
            raise _bomb(self._path, "has no end")
        return data


class _Meter:
    """Counts what comes out of one archive."""

    def __init__(self, path: Path, limits: Limits) -> None:
        self._path, self._limits = path, limits
        self._out, self._in = 0, max(1, path.stat().st_size)

    def count_file(self, number: int) -> None:
        if number > self._limits.files:
            raise _bomb(self._path, f"holds more than {self._limits.files:,} files")

    def copy(self, source: _Readable, target: Path) -> None:
        with target.open("xb") as file:
            while data := source.read(_CHUNK):
                self._out += len(data)
                if self._out > self._limits.size:
                    limit = self._limits.size / _MIB
                    raise _bomb(self._path, f"holds more than {limit:,.0f} MiB")
                if self._out > _HARMLESS and self._out > self._limits.ratio * self._in:
                    times = f"{self._limits.ratio:g}"
                    raise _bomb(self._path, f"grows more than {times} times when unpacked")
                file.write(data)


def _bomb(path: Path, what: str) -> UserError:
    return UserError(
        what,
        where=shown(path),
        remedy="If it is meant to, unpack it yourself and give the folder.",
    )


@contextmanager
def _reasons(path: Path) -> Iterator[None]:
    try:
        yield
    except _BROKEN as error:
        text = str(error) or type(error).__name__
        raise UserError(
            f"is a broken archive, or none ({text})",
            where=shown(path),
            remedy="Get it again, or unpack what can be saved.",
        ) from None
    except RuntimeError as error:  # what zipfile says of passwords
        raise UserError(f"cannot be unpacked ({error})", where=shown(path)) from None
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f"cannot be unpacked ({reason})", where=shown(path)) from None
