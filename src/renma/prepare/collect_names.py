"""Which name each collected picture has: decided before it is written, and kept for good."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from renma.core.store import write_text
from renma.data.pictures import ENDINGS
from renma.prepare._record import Row
from renma.prepare._sources import RECORD
from renma.prepare.collect_sources import Origin
from renma.prepare.safe_name import Names


class Targets:
    """The names without ending that sources have in a folder.

    They are on disk before any picture is, so a picture that a kill left without a row in the
    record is known as ours, and no name changes when sources are added.

    Args:
        out: the folder.
        keep_folders: whether names hold the folders of the sources.
    """

    def __init__(self, out: Path, *, keep_folders: bool) -> None:
        self._out, self._keep_folders = out, keep_folders
        self._file = out / RECORD / f"names{'-in-folders' if keep_folders else ''}.json"
        self._targets = self._read()

    def assign(self, due: Sequence[Origin], rows: Mapping[str, Row]) -> dict[str, str]:
        """Returns the names of the pictures that are due, by source.

        Args:
            due: pictures about to be written.
            rows: what the record knows.
        """
        again = {origin.source for origin in due}
        kept = [_stem(o.name) for s, row in rows.items() if s not in again for o in row.outputs]
        names = Names([*kept, *self._targets.values()])
        ours = {o.name for row in rows.values() for o in row.outputs}
        for origin in due:
            if origin.source not in self._targets:
                self._targets[origin.source] = self._fresh(origin, names, ours)
        write_text(self._file, json.dumps(self._targets, indent=1) + "\n")
        return {origin.source: self._targets[origin.source] for origin in due}

    @property
    def all(self) -> Iterable[str]:
        """All names."""
        return self._targets.values()

    def _fresh(self, origin: Origin, names: Names, ours: set[str]) -> str:
        """Returns a name that no other picture has, nor a file that somebody else put there."""
        wanted = origin.name.with_suffix("")
        if not self._keep_folders:
            wanted = PurePosixPath(wanted.name)
        while True:
            target = names.take(wanted)
            files = {f"{target}{ending}" for ending in ENDINGS} - ours
            if not any((self._out / file).exists() for file in files):
                return target

    def _read(self) -> dict[str, str]:
        try:
            rows = json.loads(self._file.read_text(encoding="utf-8"))
            return {str(source): str(target) for source, target in rows.items()}
        except (OSError, ValueError, AttributeError):  # none yet, or damaged: named anew
            return {}


def _stem(name: str) -> str:
    return str(PurePosixPath(name).with_suffix(""))
