"""The metadata file as a whole: read, compared, written. Format: ``renma.data.metadata_file``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from renma.core.errors import UserError
from renma.core.events import Report
from renma.core.store import write_text
from renma.data.metadata_file import read_metadata
from renma.data.notes import Notes

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
    before: Rows, after: Rows, out: Path, report: Report, *, diff: bool, dry_run: bool
) -> None:
    """Tells what changed and writes the file, unless it is only tried.

    Args:
        before: what there was.
        after: what there will be.
        out: the file to write.
        report: told each change, if wanted, and the count.
        diff: show each change.
        dry_run: write nothing.

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
    write_text(out, text)
    report.line(told)
    report.event("saved", path=str(out))


def _said(value: Any) -> str:
    """Returns a value on one line."""
    return "" if value is None else str(value).replace("\n", " / ")
