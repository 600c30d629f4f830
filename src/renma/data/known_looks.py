"""What pictures are, remembered by their bytes: a second check decodes none of them again."""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image

from renma.core.errors import UserError
from renma.core.store import cache_folder, digest, file_hash, write_text
from renma.data.pictures import Look, inspect

VERSION = 1
"""Raise it when the same bytes would give another look."""


class KnownLooks:
    """The looks of one folder's pictures; what was seen once is not decoded again.

    A picture is known by the hash of its bytes, so a changed one is always looked at anew. Broken
    ones are not remembered.

    Args:
        folder: of the pictures.
        max_pixels: the limit that they were looked at with.
    """

    def __init__(self, folder: Path, max_pixels: int) -> None:
        self._max_pixels = max_pixels
        name = digest([VERSION, Image.__version__, folder.resolve(), max_pixels])
        self._file = cache_folder() / "looks" / f"{name}.json"
        self._before = self._read()
        self._now: dict[str, Look] = {}

    def of(self, path: Path) -> tuple[Look, str]:
        """Returns a picture's look and the SHA-256 of its bytes.

        Raises:
            UserError: it cannot be read.
        """
        try:
            key = file_hash(path)
        except OSError:
            return inspect(path, self._max_pixels), ""  # which says what is wrong
        look = self._now.get(key) or self._before.get(key)
        if look is None:
            look = inspect(path, self._max_pixels)
        self._now[key] = look
        return look, key

    def save(self) -> None:
        """Remembers the looks of the pictures that are there now."""
        if self._now == self._before:
            return
        rows = {key: vars(look) for key, look in self._now.items()}
        try:
            write_text(self._file, json.dumps(rows))
        except UserError:  # no place for caches: the next check looks again
            return

    def _read(self) -> dict[str, Look]:
        try:
            rows = json.loads(self._file.read_text())
            return {
                k: Look(**{**row, "oddities": tuple(row["oddities"])}) for k, row in rows.items()
            }
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return {}
