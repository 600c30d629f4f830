"""The metadata file as a whole: read, compared, written. Format: ``renma.data.metadata_file``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from renma.caption import journal
from renma.core.errors import UserError
from renma.core.events import Report
from renma.data.metadata_file import read_metadata
from renma.data.notes import Notes, shown

Rows = Mapping[str, Mapping[str, Any]]


def load(file: Path, report: Report) -> dict[str, dict[str, Any]]:
    """Returns what a metadata file says; the report is told how it was read.

    Raises:
        UserError: it is missing or no metadata.
    """
    notes = Notes()
    rows = read_metadata(file, notes)
    for line in notes.lines():
        report.event("warned", text=line)
    return rows


def check_ending(out: Path | None, option: str) -> None:
    """Makes sure that a name is one of a metadata file, before anything is read or looked at.

    Args:
        out: the file to write; None where none is asked for.
        option: that names it.

    Raises:
        UserError: it ends in neither .json nor .jsonl.
    """
    if out is not None and out.suffix.lower() not in (".json", ".jsonl"):
        raise UserError(f"{option} must end in .json or .jsonl", where=shown(out))


def held(file: Path) -> bytes | None:
    """Returns the bytes of a metadata file, or None where there is none.

    Raises:
        UserError: it cannot be read.
    """
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", where=shown(file)) from None


def parsed(file: Path, data: bytes | None) -> dict[str, dict[str, Any]]:
    """Returns what a metadata file said when it held these bytes; nothing where it was not there.

    Raises:
        UserError: they are no metadata.
    """
    return {} if data is None else read_metadata(file, Notes(), data)


def dump(rows: Rows, file: Path) -> str:
    """Returns the text of a metadata file: a line a picture for .jsonl, else one JSON object.

    Raises:
        UserError: the name ends in neither.
    """
    if file.suffix.lower() == ".jsonl":
        lines = [{"image_path": name, **row} for name, row in rows.items()]
        return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    if file.suffix.lower() != ".json":
        raise UserError("is neither .json nor .jsonl", where=file)
    return json.dumps(rows, ensure_ascii=False, indent=2) + "\n"


def changes(before: Rows, after: Rows) -> Iterator[tuple[str, str, str, str]]:
    """Yields (picture, key, old text, new text) for every entry that differs."""
    for name, row in after.items():
        old = before.get(name, {})
        for key in ("caption", "tags"):
            texts = (_said(old.get(key)), _said(row.get(key)))
            if texts[0] != texts[1]:
                yield (name, key, *texts)


def finish(
    verb: str,
    before: Rows,
    after: Rows,
    out: Path,
    report: Report,
    *,
    diff: bool,
    dry_run: bool,
    was: bytes | None = None,
    again: Callable[[Rows], Rows] | None = None,
) -> None:
    """Tells what changed and writes the file through the journal, unless it is only tried.

    Args:
        verb: for the journal.
        before: what there was.
        after: what there will be.
        out: the file to write.
        report: told each change, if wanted, and the count.
        diff: show each change.
        dry_run: write nothing.
        was: the bytes of ``out`` that ``before`` was read from.
        again: makes the change on what ``out`` says by now, if somebody wrote it meanwhile; without
            it the file is replaced.

    Raises:
        UserError: the file cannot be written.
    """
    text, found = dump(after, out), list(changes(before, after))
    for name, key, old, new in found if diff else ():
        report.line(f"{name} {key}")
        for sign, line in (("-", old), ("+", new)):
            if line:
                report.line(f"  {sign} {line}")
    pictures = len({name for name, *_ in found})
    told = f"{pictures} of {len(after)} pictures change"
    if dry_run:
        report.line(f"{told}; nothing is written")
        return
    edit: str | journal.Edit = text
    if again:
        edit = journal.Edit(was, text, lambda data: dump(again(parsed(out, data)), out).encode())
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot be made: {error.strerror}", where=shown(out.parent)) from None
    report.line(told)
    journal.write(out.parent, verb, {out: edit}, report, diff=False, dry_run=False)
    report.event("saved", path=str(out))


def _said(value: Any) -> str:
    """Returns a value on one line."""
    return "" if value is None else str(value).replace("\n", " / ")
