"""SHA-256 of weight files, computed once: a file of gigabytes takes seconds."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from renma.core.errors import UserError
from renma.core.store import cache_folder, digest, file_hash, write_text

_SETTLED = 2.0
"""Seconds after its last change from which a file's time stamps tell a new change for certain."""


def known_hash(path: Path) -> str:
    """Returns a file's SHA-256, remembered with its place, size and times of change."""
    seen = _identity(path)
    if kept := _remembered(seen):
        return kept
    found = file_hash(path)
    if _identity(path) == seen and time.time() - path.stat().st_mtime > _SETTLED:
        try:
            write_text(_note(seen), found)
        except UserError:  # no place for caches: it is computed again next time
            return found
    return found


def remembered_hash(path: Path) -> str:
    """Returns a file's SHA-256 if it was computed before and the file is still the same, else ''.

    It takes no time, whatever the file's size.
    """
    return _remembered(_identity(path))


def _remembered(seen: tuple[object, ...]) -> str:
    try:
        kept = _note(seen).read_text()
    except OSError:
        return ""
    return kept if len(kept) == 64 else ""


def _note(seen: tuple[object, ...]) -> Path:
    return cache_folder() / "hashes" / digest(seen)


def _identity(path: Path) -> tuple[object, ...]:
    path = path.resolve()
    state = path.stat()
    return (path, state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino)


class WeightHashes(Mapping[str, str]):
    """SHA-256 of the file that holds each part; computed when it is asked for.

    Args:
        files: part to file.
    """

    def __init__(self, files: Mapping[str, Path]) -> None:
        self._files = dict(files)
        self._known: dict[Path, str] = {}

    def __getitem__(self, part: str) -> str:
        path = self._files[part]
        if path not in self._known:
            self._known[path] = known_hash(path)
        return self._known[path]

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)
