"""Journals of caption edits: one JSONL file an edit, under ``.renma/captions`` of the folder.

The first line says what was done; every other names a file, what it held and what it will hold:
``{"file": "a.txt", "old": "cat", "new": "cat, hat"}``. null stands for no file; bytes that are no
UTF-8 stand under ``old_base64``.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import IO, Any

from renma.caption.folder import Names
from renma.core import json_file
from renma.core.errors import UserError
from renma.core.store import write_text
from renma.data.notes import shown

PLACE = Path(".renma") / "captions"
"""Where journals lie in a folder."""
ENDINGS = (".txt", ".caption", ".tags", ".json", ".jsonl")
"""What undo writes without being told; a folder of pictures may come with a forged journal."""
_KIND = "renma captions"
_NAME = re.compile(r"(\d{4,})-([a-z_-]+)(\.undone)?\.jsonl")


@dataclass(frozen=True)
class Change:
    """What an edit does to one file.

    Attributes:
        path: the file.
        old: its bytes before; None where there was no file.
        new: its bytes after; None removes it.
    """

    path: Path
    old: bytes | None
    new: bytes | None


@dataclass(frozen=True)
class Record:
    """One edit of the past.

    Attributes:
        file: its journal.
        number: counted from 1.
        verb: what was done: edit, prepend, tag, ...
        undone: whether it was taken back.
        time: when, ISO 8601.
        files: how many files it changed.
        after: number of the last edit that was not undone when this one was made; 0 for none.
    """

    file: Path
    number: int
    verb: str
    undone: bool
    time: str
    files: int
    after: int


def history(folder: Path) -> list[Record]:
    """Returns the edits of a folder's captions, the oldest first.

    Raises:
        UserError: a journal is damaged.
    """
    place = folder / PLACE
    found = []
    for file in sorted(place.iterdir()) if place.is_dir() else ():
        if match := _NAME.fullmatch(file.name):
            with _opened(file) as lines:
                head = _row(lines.readline(), file)
            if head.get("kind") != _KIND or not isinstance(head.get("files", 0), int):
                raise _damaged(file)
            time, files, number = str(head.get("time")), int(head.get("files", 0)), int(match[1])
            after = head.get("after")
            after = after if isinstance(after, int) and after < number else number - 1
            found.append(Record(file, number, match[2], bool(match[3]), time, files, after))
    return sorted(found, key=lambda record: record.number)


def redoable(records: Sequence[Record], file: Path | None = None) -> list[Record]:
    """Returns the edits that were undone last, in the order in which they can be done again.

    What was undone before a newer edit was made stays undone, also when that one is undone, too.

    Args:
        records: the whole history.
        file: metadata in the folder: only edits of it count.
    """
    kept = {past.number: past for past in records if touches(past, file)}
    known = {past.number: past for past in records}

    def before(past: Record) -> int:
        number = past.after
        while number and number not in kept:
            number = known[number].after if number in known else 0
        return number

    last = max((number for number, past in kept.items() if not past.undone), default=0)
    found: list[Record] = []
    while waiting := [p for p in kept.values() if p.undone and p.number > last == before(p)]:
        found.append(max(waiting, key=lambda past: past.number))
        last = found[-1].number
    return found


def touches(record: Record, file: Path | None) -> bool:
    """Says whether an edit is one of this file alone; every edit is, if no file is asked for."""
    if file is None:
        return True
    with _opened(record.file) as lines:
        next(lines)
        return {str(_row(line, record.file).get("file")) for line in lines} == {file.name}


def changes_of(folder: Path, record: Record, endings: Iterable[str] = ()) -> Iterator[Change]:
    """Yields what an edit did to each file.

    Args:
        folder: the folder that was edited.
        record: the edit.
        endings: of caption files, besides the usual ones.

    Raises:
        UserError: the journal is damaged, or names a file outside of the folder, be it through a
            link, or one that is neither caption nor metadata.
    """
    top, inside = folder.resolve(), dict[Path, bool]()
    known = {*ENDINGS, *(ending.lower() for ending in endings)}
    with _opened(record.file) as lines:
        next(lines)
        for line in lines:
            row = _row(line, record.file)
            name = row.get("file")
            plain = PurePosixPath(name) if isinstance(name, str) else PurePosixPath("/")
            if plain.is_absolute() or ".." in plain.parts or Path(plain).drive:
                raise _damaged(record.file)  # it came with somebody's pictures and means harm
            path = folder / plain
            if path.parent not in inside:
                inside[path.parent] = path.parent.resolve().is_relative_to(top)
            if not inside[path.parent]:
                raise _damaged(record.file)
            if path.suffix.lower() not in known:
                raise _no_caption(path, record.file)
            old, new = (_bytes(row, key, record.file) for key in ("old", "new"))
            yield Change(path, old, new)


def record(folder: Path, verb: str, found: Sequence[Change], again: Path | None = None) -> Path:
    """Writes the journal of an edit; it is on the disk, whole, when this returns.

    Args:
        folder: the folder that is edited.
        verb: what is done.
        found: the changes.
        again: the edit's journal, if it is written already and says too much.

    Returns:
        The journal.
    """
    past = history(folder)
    number = max((record.number for record in past), default=0) + 1
    after = max((r.number for r in past if not r.undone and r.file != again), default=0)
    target = again or folder / PLACE / f"{number:04}-{verb}.jsonl"
    time = datetime.now().astimezone().isoformat(timespec="seconds")
    rows: list[dict[str, Any]] = [
        {
            "kind": _KIND, "version": 1, "verb": verb, "time": time, "files": len(found),
            "after": after,
        }
    ]  # fmt: skip
    names = Names(folder)
    rows += [
        {"file": names.of(each.path), **_said("old", each.old), **_said("new", each.new)}
        for each in found
    ]
    # names may hold bytes that are no text: as ASCII, every one of them comes back
    text = "".join(json.dumps(row) + "\n" for row in rows)
    write_text(target, text)
    return target


def _opened(file: Path) -> IO[str]:
    """Opens a journal; what is no text in it is told as damage by the parser."""
    return file.open(encoding="utf-8", errors="replace")


def _said(key: str, data: bytes | None) -> dict[str, str | None]:
    if data is None:
        return {key: None}
    try:
        return {key: data.decode()}
    except UnicodeDecodeError:
        return {f"{key}_base64": b64encode(data).decode()}


def _bytes(row: Mapping[str, Any], key: str, file: Path) -> bytes | None:
    try:
        if f"{key}_base64" in row:
            return b64decode(row[f"{key}_base64"], validate=True)
        return None if row[key] is None else row[key].encode()
    except (KeyError, ValueError, AttributeError, TypeError):
        raise _damaged(file) from None


def _row(line: str, file: Path) -> dict[str, Any]:
    row = json_file.parse(line, shown(file))
    if not isinstance(row, dict):
        raise _damaged(file)
    return row


def _damaged(file: Path) -> UserError:
    return UserError("is no journal of captions", where=shown(file), remedy="Remove it.")


def _no_caption(path: Path, file: Path) -> UserError:
    known = ", ".join(ENDINGS)
    own = f"Give --extension {path.suffix} if your captions end so; else " if path.suffix else ""
    return UserError(
        f"names {shown(path.name)}, which ends neither as captions nor as metadata do ({known})",
        where=shown(file),
        remedy=f"{own}remove the journal." if own else "Remove the journal.",
    )
