"""Fine-tuning metadata: one JSON or JSONL file with caption and tags of every picture.

JSON: ``{"path": {"caption": ..., "tags": ...}}``; JSONL: one ``{"image_path": ..., ...}`` a line.
Format: kohya-ss/sd-scripts, ``docs/fine_tune``. Its merge scripts write names without ending unless
told otherwise, which its own loader cannot open; here the ending is searched for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from renma.config.data import Subset
from renma.core import json_file
from renma.core.errors import UserError
from renma.core.place import is_there
from renma.core.text_file import decode
from renma.data.caption_file import caption_lines, decoded
from renma.data.notes import Notes, shown
from renma.data.pictures import ENDINGS

_LINE_END = re.compile(r"\r\n|\r|\n")
_FORMS = 'JSON is {"a.png": {"caption": "a cat"}}; JSONL has "image_path" in each line.'


@dataclass(frozen=True)
class Entry:
    """What the file says about one picture."""

    path: Path
    caption: str
    tags: str


def read_entries(subset: Subset, notes: Notes) -> list[Entry]:
    """Returns the pictures that a metadata file names, by path.

    Raises:
        UserError: the file is no such metadata, or names a picture that is nowhere.
    """
    file, folder = Path(subset.metadata_file), Path(subset.image_dir)
    rows = read_metadata(file, notes)
    if not rows:
        raise UserError("names no pictures", where=shown(file))
    found: dict[Path, Entry] = {}
    for name, row in rows.items():
        path = _picture(name, folder)
        if path is None:
            raise UserError(
                f"names '{shown(name[:200])}', which is not in {shown(folder)}",
                where=shown(file),
                remedy="Set image_dir to the folder that its paths start from.",
            )
        if path in found:
            notes.add(f"named twice in {file.name}, the first entry is used", path)
            continue
        if path.parent.name and not _is_at(name, path):
            notes.add(f"{file.name} names other places, pictures are taken from", path.parent)
        found[path] = Entry(path, _text(row, "caption", file, name), _text(row, "tags", file, name))
    return [found[path] for path in sorted(found)]


def read_metadata(file: Path, notes: Notes, data: bytes | None = None) -> dict[str, dict[str, Any]]:
    """Returns what a metadata file says: name to its row.

    Args:
        file: the file.
        notes: told about encodings.
        data: its bytes, if they were read already.

    Raises:
        UserError: it is neither such JSON nor JSONL.
    """
    text = decoded(file, notes) if data is None else decode(data, shown(file))[0]
    if file.suffix.lower() == ".jsonl":
        return dict(_named_rows(text, file))
    rows = json_file.parse(text, shown(file), _FORMS)
    if not isinstance(rows, dict) or not all(isinstance(row, dict) for row in rows.values()):
        raise UserError("must hold one object for each picture", where=shown(file), remedy=_FORMS)
    return rows


def _named_rows(text: str, file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields the rows of JSONL with the picture that each is about."""
    for number, line in enumerate(_LINE_END.split(text), 1):
        if not line.strip():
            continue
        place = f"{shown(file)}:{number}"
        row = json_file.parse(line, place, _FORMS)
        if not isinstance(row, dict) or "image_path" not in row:
            raise UserError("has no 'image_path'", where=place, remedy=_FORMS)
        name = row.pop("image_path")
        if not isinstance(name, str):
            raise UserError(f"'image_path' = {name!r:.80} is no text", where=place, remedy=_FORMS)
        yield name, row


def described(entry: Entry, subset: Subset, notes: Notes) -> str | None:
    """Returns the caption of an entry, or None if it says nothing.

    Caption, separator and tags are joined without a blank. With ``enable_wildcard`` every line of
    the caption gets the tags.
    """
    separator = subset.caption_separator
    lines = caption_lines(entry.caption, separator)
    tag_lines = caption_lines(entry.tags, separator)
    if len(lines) > 1 and not subset.enable_wildcard:
        notes.add(f"{len(lines)} lines of caption, only the first is used", entry.path)
        lines = lines[:1]
    words = separator.join(tag_lines)
    if not lines:
        return words or None
    return "\n".join(separator.join([line, words]) if words else line for line in lines)


def _text(row: dict[str, Any], key: str, file: Path, name: str) -> str:
    value = row.get(key)
    if value is None:
        return ""
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return ", ".join(value)
    if not isinstance(value, str):
        raise UserError(f"'{key}' of '{name}' is no text", where=shown(file))
    return value


def _picture(name: str, folder: Path) -> Path | None:
    """Returns the file that a name means: a path, with or without ending, here or moved."""
    plain = PurePosixPath(name.replace("\\", "/"))
    for candidate in dict.fromkeys((folder / name, folder / plain, folder / plain.name)):
        if _is_file(candidate):
            return candidate
        # a dot in the name may be no ending: `portrait.1`
        for ending in sorted(ENDINGS) if candidate.suffix.lower() not in ENDINGS else ():
            for spelled in (ending, ending.upper()):
                path = candidate.with_name(candidate.name + spelled)
                if _is_file(path):
                    return path
    return None


def _is_file(path: Path) -> bool:
    return is_there(path) and path.is_file()


def _is_at(name: str, path: Path) -> bool:
    """Says whether a name told the folder truly, or told none."""
    parent = PurePosixPath(name.replace("\\", "/")).parent
    return str(path.parent.as_posix()).endswith(str(parent)) or str(parent) == "."
