"""Which tags ``renma caption maruzen`` took out of a folder's captions (no torch).

Its journals lie under ``.renma/captions`` of the folder that was edited, one JSONL file an edit: a
line about the edit, then one for each file with what it held (``old``) and holds (``new``). An edit
that was undone has ``.undone`` in its name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from renma.data.captions import tags

PLACE = Path(".renma") / "captions"
"""Where journals lie in a folder."""
_MARUZEN = re.compile(r"\d{4,}-maruzen\.jsonl")
_CAPTIONS = (".txt", ".caption", ".tags")
"""Endings of files that are one caption each."""
LARGEST = 64 * 2**20
"""Bytes of a journal that is read; a larger one is passed over."""


def removed(folders: Iterable[Path]) -> list[str]:
    """Returns the tags that were taken out, those out of most captions first.

    A journal that cannot be read says nothing: the pictures may be somebody else's.

    Args:
        folders: those with pictures; captions are edited through them or the folder above.
    """
    places = dict.fromkeys(
        (each / PLACE).resolve() for folder in folders for each in (folder, folder.parent)
    )
    counts: dict[str, int] = {}
    for place in places:
        for file in sorted(place.iterdir()) if place.is_dir() else ():
            if _MARUZEN.fullmatch(file.name) and file.stat().st_size <= LARGEST:
                for tag in _taken(file):
                    counts[tag] = counts.get(tag, 0) + 1
    return sorted(counts, key=lambda tag: -counts[tag])


def _taken(file: Path) -> Iterator[str]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines[1:]]
    except (OSError, ValueError, RecursionError):
        return
    for row in rows:
        if not isinstance(row, dict) or Path(str(row.get("file"))).suffix not in _CAPTIONS:
            continue
        old, new = row.get("old"), row.get("new")
        if isinstance(old, str) and isinstance(new, str):
            left = {*tags(new.replace("\n", ","))}
            yield from dict.fromkeys(t for t in tags(old.replace("\n", ",")) if t not in left)
