"""Files that are either whole or absent, and a cache keyed by what determines its content."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import platformdirs

from renma.core.errors import UserError

_PART = re.compile(r"\..*\.[0-9a-f]{8}\.part")
_FULL = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT}
_NO_FOLDER_SYNC = {errno.EINVAL, errno.ENOTSUP}
"""What file systems answer that cannot make a folder durable (some network and FUSE ones)."""
_A_DAY = 86_400


def write_atomic(
    path: Path, write: Callable[[Path], object], *, size: int = 0, parts: Path | None = None
) -> None:
    """Writes a file through a temporary neighbour, fsync and rename.

    After a kill, a full disk or a power cut at any moment, ``path`` holds the old bytes or the new
    ones; what a kill leaves is a ``.part`` file that :func:`sweep` removes.

    Args:
        path: the final name; parent folders are made.
        write: receives the temporary path and fills it.
        size: bytes it will have, if known; told when they do not fit.
        parts: where the temporary file lies (default: beside ``path``); the same disk.

    Raises:
        UserError: the disk is full or the folder cannot be written.
    """
    folder = parts or path.parent
    temporary = folder / f".{path.name[:40]}.{secrets.token_hex(4)}.part"
    try:
        _make_folder(path.parent)
        _make_folder(folder)
        # the umask decides who may read it, as for any other file
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        write(temporary)
        with temporary.open("r+b") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        _fsync_folder(path.parent)
    except OSError as error:
        raise _cannot(error, path, temporary, size) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Atomically replaces a file by ``data``."""
    write_atomic(path, lambda temporary: temporary.write_bytes(data), size=len(data))


def write_text(path: Path, text: str) -> None:
    """Atomically replaces a file by UTF-8 ``text``."""
    write_bytes(path, text.encode())


def probe(folder: Path) -> None:
    """Makes sure that files can be made in a folder, by making one.

    Where the folder is not there yet, the nearest one above is tried; nothing is left behind.

    Raises:
        UserError: they cannot.
    """
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        raise UserError("is a file, not a folder", where=place, remedy="Move it out of the way.")
    trial = place / f".probe.{secrets.token_hex(4)}.part"
    try:
        trial.write_bytes(b"renma")
    except OSError as error:
        raise _cannot(error, folder, trial, size=5) from error
    finally:
        with suppress(OSError):
            trial.unlink(missing_ok=True)


def sweep(folder: Path, older_than: float = 0.0) -> int:
    """Removes what killed writers left in a folder, not below it, and returns how many files.

    Args:
        folder: may be missing.
        older_than: seconds; 0 only where nobody else writes.
    """
    if not folder.is_dir():
        return 0
    now, removed = time.time(), 0
    for path in folder.iterdir():
        if not _PART.fullmatch(path.name):
            continue
        with suppress(OSError):  # another process may sweep too
            if now - path.stat().st_mtime >= older_than:
                path.unlink()
                removed += 1
    return removed


def file_hash(path: Path) -> str:
    """Returns the SHA-256 of a file's bytes as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(parts: Iterable[object]) -> str:
    """Returns 40 hexadecimal digits that change when any part changes."""
    text = "\x1f".join(str(part) for part in parts)
    return hashlib.blake2b(text.encode(), digest_size=20).hexdigest()


def cache_folder() -> Path:
    """Returns the folder of derived data: ``RENMA_CACHE`` or the platform's cache folder."""
    chosen = os.environ.get("RENMA_CACHE")
    return Path(chosen) if chosen else Path(platformdirs.user_cache_dir("renma", appauthor=False))


class Store:
    """Content-addressed files under one folder: ``kind/ab/cdef...suffix``.

    A key is the :func:`digest` of everything that determines the value, so an entry is never
    stale; entries are written whole, so an interrupted run leaves none half made.
    """

    def __init__(self, kind: str, suffix: str, root: Path | None = None) -> None:
        self.root = (root or cache_folder()) / kind
        self.suffix = suffix
        self._swept = False

    def path(self, key: str) -> Path:
        """Returns where the entry of ``key`` lies or would lie."""
        return self.root / key[:2] / f"{key[2:]}{self.suffix}"

    def put(self, key: str, write: Callable[[Path], object], size: int = 0) -> Path:
        """Writes an entry atomically and returns its path."""
        path, parts = self.path(key), self.root / ".parts"
        if not self._swept:  # other processes may be writing; none takes a day for one entry
            self._swept = True
            sweep(parts, older_than=_A_DAY)
        write_atomic(path, write, size=size, parts=parts)
        return path


def _cannot(error: OSError, path: Path, temporary: Path, size: int) -> UserError:
    """Returns the mistake behind a failed write; where it is room, how much is missing."""
    reason = error.strerror or str(error)
    if error.errno not in _FULL:
        return UserError(f"cannot be written ({reason})", where=path)
    fitted = 0
    with suppress(OSError):
        fitted = temporary.stat().st_size
    missing = f": {size - fitted:,} of {size:,} bytes do not fit" if size > fitted else ""
    return UserError(
        f"cannot be written ({reason}{missing})",
        where=path,
        remedy="Free some space, or choose another folder.",
    )


def _make_folder(folder: Path) -> None:
    """Makes a folder and those above it, each durable in the one above."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    _fsync_folder(folder.parent)


def _fsync_folder(folder: Path) -> None:
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise
    finally:
        os.close(handle)
