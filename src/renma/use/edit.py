"""``renma file edit``: change metadata; the bytes of the weights are copied as they are."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path

from renma.config.file_tasks import EditOptions
from renma.core.errors import UserError, did_you_mean
from renma.core.events import Report
from renma.core.store import write_atomic
from renma.formats import safetensors
from renma.formats.metadata import scrub


def run(options: EditOptions, report: Report) -> None:
    """Writes the file with its new metadata.

    Raises:
        UserError: nothing to do, an entry that is not there, or a damaged file.
    """
    header, metadata = safetensors.read_header(options.file)
    if not (options.set or options.remove or options.scrub):
        raise UserError(
            "nothing says what to change",
            remedy="Give --set key=value, --remove key, or --scrub minimal.",
        )
    changed = _edited(metadata, options)
    out = options.out or options.file
    rewrite(options.file, out, header, changed)
    added = len(changed.keys() - metadata.keys())
    gone = len(metadata.keys() - changed.keys())
    other = sum(metadata[key] != changed[key] for key in metadata.keys() & changed.keys())
    report.line(f"{added} added, {other} changed, {gone} removed, {len(changed)} entries now")
    report.event("saved", path=str(out))


def rewrite(
    source: Path, out: Path, header: safetensors.Header, metadata: Mapping[str, str]
) -> None:
    """Copies a safetensors file with other metadata; the numbers are not read.

    Raises:
        UserError: the disk is full or the folder cannot be written.
    """
    rows = {"__metadata__": dict(sorted(metadata.items())), **header} if metadata else header
    text = _as_json(rows)
    text += b" " * (-len(text) % 8)

    def write(temporary: Path) -> None:
        with source.open("rb") as old, temporary.open("wb") as new:
            old.seek(8 + struct.unpack("<Q", old.read(8))[0])
            new.write(struct.pack("<Q", len(text)) + text)
            shutil.copyfileobj(old, new, 1 << 20)

    write_atomic(out, write)


def _as_json(rows: Mapping[str, object]) -> bytes:
    """Returns JSON; half a character, which a file's escapes can tell, stays an escape."""
    try:
        return json.dumps(rows, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        return json.dumps(rows, separators=(",", ":")).encode()


def _edited(metadata: Mapping[str, str], options: EditOptions) -> dict[str, str]:
    found = scrub(metadata, options.scrub) if options.scrub else dict(metadata)
    for pattern in options.remove:
        named = [key for key in metadata if fnmatchcase(key, pattern)]
        if not named:
            raise UserError(
                f"has no metadata '{pattern}'",
                where=options.file,
                remedy=did_you_mean(pattern, metadata),
            )
        for key in named:
            found.pop(key, None)
    for entry in options.set:
        key, equals, value = entry.partition("=")
        if not equals or not key.strip() or key.strip() == "__metadata__":
            raise UserError(f"--set {entry!r} is not key=value")
        found[key.strip()] = value
    return found
