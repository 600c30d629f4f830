"""Files that are either whole or absent, and a cache keyed by what determines its content."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import platformdirs

from renma.core.errors import UserError


def write_atomic(path: Path, write: Callable[[Path], object]) -> None:
    """Writes a file through a temporary neighbour, fsync and rename.

    After a kill or a full disk at any moment, ``path`` holds the old bytes or the new ones.

    Args:
        path: the final name; parent folders are made.
        write: receives the temporary path and fills it.

    Raises:
        UserError: the disk is full or the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            dir=path.parent, prefix=f".{path.name[:40]}.", suffix=".part"
        )
        os.close(handle)
    except OSError as error:
        raise UserError(f"cannot be written ({error.strerror})", where=path) from error
    temporary = Path(name)
    try:
        write(temporary)
        temporary.chmod(0o666 & ~_umask())
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        _fsync_folder(path.parent)
    except OSError as error:
        raise UserError(
            f"cannot be written ({error.strerror})", where=path, remedy="Is the disk full?"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Atomically replaces a file by ``data``."""
    write_atomic(path, lambda temporary: temporary.write_bytes(data))


def write_text(path: Path, text: str) -> None:
    """Atomically replaces a file by UTF-8 ``text``."""
    write_bytes(path, text.encode())


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

    def path(self, key: str) -> Path:
        """Returns where the entry of ``key`` lies or would lie."""
        return self.root / key[:2] / f"{key[2:]}{self.suffix}"

    def put(self, key: str, write: Callable[[Path], object]) -> Path:
        """Writes an entry atomically and returns its path."""
        path = self.path(key)
        write_atomic(path, write)
        return path


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _fsync_folder(folder: Path) -> None:
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
