"""Captions beside pictures that were made: they come and go with them, and edits are kept."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from renma.core.store import file_hash, write_bytes
from renma.data.notes import Notes
from renma.prepare._record import Row


class Captions:
    """The captions of one folder that a command fills.

    What was carried there last is known by its hash (``Row.captions``); other bytes are a person's.

    Args:
        out: the folder.
        notes: told what was kept, and why.
    """

    def __init__(self, out: Path, notes: Notes) -> None:
        self._out, self._notes = out, notes

    def settle(self, row: Row, originals: Mapping[str, Mapping[str, bytes | None]]) -> None:
        """Brings the captions of one source's pictures up to date.

        Args:
            row: what was made of the source; its ``captions`` are changed.
            originals: the captions that belong to each picture that was made, by the picture's
                name and their ending; None for one that cannot be read, which changes nothing.
        """
        wanted = {
            str(PurePosixPath(name).with_suffix(ending)): (self._out / name, data)
            for name, captions in originals.items()
            for ending, data in captions.items()
        }
        self._drop(row, [name for name in row.captions if name not in wanted])
        for name, (picture, data) in wanted.items():
            # a picture that was removed by hand stays away with its caption
            if data is not None and picture.exists():
                self._carry(row, name, data)

    def _drop(self, row: Row, names: Iterable[str]) -> None:
        """Removes captions whose picture or original is gone, unless a person edited them."""
        for name in names:
            path, carried = self._out / name, row.captions.pop(name)
            if not path.exists():
                continue
            if file_hash(path) == carried:
                path.unlink()
            else:
                self._notes.add(
                    "captions edited here are kept, their pictures or originals are gone", name
                )

    def _carry(self, row: Row, name: str, data: bytes) -> None:
        path, before = self._out / name, row.captions.get(name)
        now = hashlib.sha256(data).hexdigest()
        there = file_hash(path) if path.exists() else None
        if there is None and before == now:  # removed here, and nothing new to say
            return
        if there in (None, before) and there != now:
            write_bytes(path, data)
        elif there != now:
            if before != now:
                self._notes.add("captions edited here are kept, their originals changed too", name)
            return
        row.captions[name] = now
