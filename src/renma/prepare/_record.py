"""What a step did, beside what it made: one JSON line a picture, so that it can go on and again."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import renma
from renma.core import json_file
from renma.core.errors import UserError
from renma.core.store import write_text
from renma.prepare._sources import RECORD


@dataclass(frozen=True)
class Output:
    """One picture that a step made.

    Args:
        name: its path from the step's folder on.
        digest: SHA-256 of its bytes as they were written.
        box: left, top, right, bottom of what was cut out of the upright source.
        facts: what else is worth knowing: detector, score, back end.
        beside: SHA-256 of what was written beside it, by the option that names its folder; empty
            where there was nothing to write.
    """

    name: str
    digest: str
    box: tuple[int, int, int, int] | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    beside: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """What came of one source.

    Args:
        source: the picture's name in the source folder.
        digest: SHA-256 of its bytes.
        key: digest of everything that the result depends on.
        outputs: the pictures made.
        captions: names of the caption files carried along, and the hash of what was written.
        skipped: why nothing was made of it; empty if something was.
    """

    source: str
    digest: str
    key: str
    outputs: tuple[Output, ...] = ()
    captions: dict[str, str] = field(default_factory=dict)
    skipped: str = ""


@dataclass(frozen=True)
class Head:
    """Which step a folder was made by: enough to do it again.

    Args:
        verb: the word after ``renma prepare``.
        folder: where the pictures came from.
        options: what it was told, as JSON values.
        version: of renma.
        before: the steps that ``folder`` came from, the first one first, so that their folders may
            be deleted; each a head with the folder that it ``made``. None where that is unknown.
    """

    verb: str
    folder: str
    options: dict[str, Any]
    version: str = renma.__version__
    before: list[dict[str, Any]] | None = None

    def earlier(self, where: Path) -> dict[Path, Head]:
        """Returns the steps before this one, by the folders that they made.

        Args:
            where: of this record, for messages.

        Raises:
            UserError: the record is damaged.
        """
        try:
            return {
                Path(each["made"]): Head(**{n: v for n, v in each.items() if n != "made"})
                for each in self.before or ()
            }
        except (TypeError, KeyError, AttributeError):
            raise UserError(
                "its record of the steps before it is damaged",
                where=where,
                remedy="Repeat those steps by hand.",
            ) from None


def lineage(folder: Path) -> list[dict[str, Any]] | None:
    """Returns the steps that a folder of pictures came from, as ``Head.before`` holds them.

    Args:
        folder: of the pictures; empty for originals, None where a record cannot tell.
    """
    found: list[dict[str, Any]] = []
    folder = folder.resolve()
    try:
        while head := Record(folder).head():
            one = {n: v for n, v in asdict(head).items() if n != "before"}
            found.insert(0, {"made": str(folder), **one})
            if head.before is not None:
                return [*head.before, *found]
            folder = Path(head.folder)
            if not folder.is_dir() or any(each["made"] == str(folder) for each in found):
                return None
    except UserError:  # of a step before; it does not keep this one from its work
        return None
    return found


class Record:
    """The record of one step's folder.

    Args:
        out: the folder that the step makes.
    """

    def __init__(self, out: Path) -> None:
        self._head_file = out / RECORD / "step.json"
        self._rows_file = out / RECORD / "made.jsonl"
        self.rows: dict[str, Row] = {}
        self._out = out

    def head(self) -> Head | None:
        """Returns which step made the folder, or None if none did.

        Raises:
            UserError: the record is damaged.
        """
        if not self._head_file.exists():
            return None
        try:
            text = self._head_file.read_text(encoding="utf-8")
            return Head(**json_file.parse(text, self._head_file))
        except (TypeError, UnicodeDecodeError):
            raise UserError(
                "is no record of a step", where=self._head_file, remedy="Choose another folder."
            ) from None

    def begin(self, head: Head) -> None:
        """Starts or goes on; rows of an interrupted run are read, a torn last line is dropped."""
        if not self.rows:
            self.read()
        self._rewrite()
        write_text(self._head_file, json.dumps(asdict(head), indent=2) + "\n")

    def read(self) -> None:
        """Reads the rows of an earlier run, if there was one; nothing is written."""
        if self._rows_file.exists():
            for line in self._rows_file.read_text(encoding="utf-8").split("\n"):
                if row := _row(line):
                    self.rows[row.source] = row

    def add(self, row: Row) -> None:
        """Notes what came of one source."""
        self.rows[row.source] = row
        with self._rows_file.open("a", encoding="utf-8") as file:
            file.write(_line(row))

    def forget(self, source: str) -> None:
        """Drops what is known of a source."""
        del self.rows[source]

    def finish(self) -> None:
        """Leaves one line a source, in order."""
        self._rewrite()

    def _rewrite(self) -> None:
        rows = sorted(self.rows.values(), key=lambda row: row.source)
        write_text(self._rows_file, "".join(map(_line, rows)))


def _line(row: Row) -> str:
    # as ASCII: names of files may hold bytes that are no text
    return json.dumps(asdict(row)) + "\n"


def _row(line: str) -> Row | None:
    """Returns a line's row, or None for one that a kill cut off."""
    try:
        data = json.loads(line)
        outputs = tuple(
            Output(**{**each, "box": tuple(each["box"]) if each["box"] else None})
            for each in data.pop("outputs")
        )
        return Row(**data, outputs=outputs)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
