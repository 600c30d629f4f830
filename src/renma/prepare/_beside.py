"""Folders that a step writes beside its pictures: masks, overlays.

They are looked after as the pictures are: made only where they are missing, removed with their
picture, kept where a person painted on them, and never mixed with somebody else's files.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from renma.config.prepare._base import StepOptions
from renma.core.errors import UserError
from renma.core.store import file_hash, probe, write_bytes, write_text
from renma.prepare._place import check_apart, is_empty
from renma.prepare._record import Head, Output, Record, Row
from renma.prepare._sources import RECORD

_MARK = "beside.json"
ENDING = ".png"


def is_beside(place: Path, out: Path) -> bool:
    """Says whether a folder was made beside the results of the step in ``out``."""
    return _owner(place) == str(out.resolve())


class Beside:
    """What one run of a step writes beside its pictures.

    Args:
        options: of the verb; its ``beside`` names the options that are such folders.
        out: the step's folder.
    """

    def __init__(self, options: StepOptions, out: Path) -> None:
        self._out, self._source = out, options.folder
        places = {name: getattr(options, name) for name in options.beside}
        self.places: dict[str, Path] = {n: place for n, place in places.items() if place}

    def check(self, head: Head | None) -> None:
        """Makes sure that nothing of anybody else is written over.

        Args:
            head: what the record of the step's folder says.

        Raises:
            UserError: a folder among pictures, or one that is not ours.
        """
        for name, place in self.places.items():
            flag = _flag(name)
            check_apart(place, (self._source, self._out), flag)
            remedy = f"Choose another with {flag}."
            owner = _owner(place)
            if owner is None and not is_empty(place):
                raise UserError("is not empty and was not made by this step", where=place,
                                remedy=remedy)  # fmt: skip
            # the step's folder may have been moved since; then none is where it was
            moved = owner is not None and Record(Path(owner)).head() is None
            if owner and (head is None or (owner != str(self._out.resolve()) and not moved)):
                raise UserError(f"belongs to {owner}", where=place, remedy=remedy)

    def begin(self, record: Record, head: Head | None) -> None:
        """Marks the folders as ours; what lies in an earlier place is copied to the new one.

        Args:
            record: its rows are changed where something is missing.
            head: of the run before.
        """
        for name, place in self.places.items():
            probe(place)
            owner = {"option": name, "of": str(self._out.resolve())}
            write_text(place / RECORD / _MARK, json.dumps(owner) + "\n")
            before = (head.options if head else {}).get(name)
            if before == str(place.resolve()):
                continue
            for source, row in record.rows.items():
                outputs = tuple(self._brought(o, name, before) for o in row.outputs)
                record.rows[source] = replace(row, outputs=outputs)

    def has(self, row: Row) -> bool:
        """Says whether all that is asked for was made of a source."""
        return all(name in output.beside for output in row.outputs for name in self.places)

    def changed(self, output: Output) -> list[str]:
        """Returns the files beside a picture that a person changed since."""
        return [
            str(path)
            for path, made in self._files(output)
            if path.exists() and file_hash(path) != made
        ]

    def remove(self, output: Output) -> Iterator[str]:
        """Removes what lies beside a picture, and yields what stays because it was changed."""
        changed = self.changed(output)
        for path, _ in self._files(output):
            if str(path) not in changed:
                path.unlink(missing_ok=True)
        yield from changed

    def _files(self, output: Output) -> list[tuple[Path, str]]:
        return [
            (named(place, output.name), made)
            for name, place in self.places.items()
            if (made := output.beside.get(name))
        ]

    def _brought(self, output: Output, name: str, before: Any) -> Output:
        """Returns an output whose file beside it is in its new place, or is to be made."""
        made, path = output.beside.get(name), named(self.places[name], output.name)
        if not made or _holds(path, made):
            return output
        old = named(Path(before), output.name) if isinstance(before, str) else None
        if old and _holds(old, made):
            write_bytes(path, old.read_bytes())
            return output
        return replace(output, beside={n: v for n, v in output.beside.items() if n != name})


def named(place: Path, output: str) -> Path:
    """Returns the file beside a picture, from the name of the picture."""
    return place / PurePosixPath(output).with_suffix(ENDING)


def without_places(options: StepOptions, values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns values of options without those that only say where something is written."""
    return {name: value for name, value in values.items() if name not in options.beside}


def _holds(path: Path, made: str) -> bool:
    return path.is_file() and file_hash(path) == made


def _owner(place: Path) -> str | None:
    """Returns the step's folder that a folder beside belongs to."""
    try:
        return str(json.loads((place / RECORD / _MARK).read_text(encoding="utf-8"))["of"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
