"""Where the option stands that a mistake is about: its ``--set``, or file and line."""

from __future__ import annotations

import re
from pathlib import Path

from renma.config.load import find_line
from renma.core.errors import UserError

_OPTION = re.compile(r"[a-z]\w*(\.\w+)+(?= = |$)|[a-z]\w*(?= = )")
"""``section.key``, or the bare ``key`` of a data set's folder with its value."""


def pointed(error: UserError, file: Path, assignments: tuple[str, ...] = ()) -> UserError:
    """Returns the mistake with the place of its option in front, if it names one.

    Args:
        error: what was raised.
        file: run.toml or the data set file.
        assignments: what ``--set`` laid over it.
    """
    match = _OPTION.match(str(error.where or ""))
    if match is None or isinstance(error.where, Path):
        return error
    keys = match[0].split(".")
    for assignment in reversed(assignments):
        name = assignment.partition("=")[0].strip()
        if name == match[0] or match[0].startswith(f"{name}."):
            return UserError(f"{error.where}: {error.what}", where=f"--set {name}", remedy=error.remedy)
    line = _line(file, keys)
    if not line:
        return error
    what = f"{error.where}: {error.what}"
    return UserError(what, where=f"{file}:{line}", remedy=error.remedy)


def _line(file: Path, keys: list[str]) -> int:
    """Returns the line of an option, of its table, or of a folder's key at any level; else 0."""
    of_a_folder = len(keys) == 1 or keys[0] == "data"
    places = [keys, *([keys[:-1]] if len(keys) > 2 else [])]
    found = next((line for place in places if (line := find_line(file, list(place)))), 0)
    return found or (_anywhere(file, keys[-1]) if of_a_folder and file.is_file() else 0)


def _anywhere(file: Path, key: str) -> int:
    """Returns the only line that sets a key, in whatever table; 0 if there are several."""
    rows = file.read_text("utf-8-sig", errors="replace").splitlines()
    found = [n for n, row in enumerate(rows, 1) if re.match(rf"\s*{re.escape(key)}\s*=", row)]
    return found[0] if len(found) == 1 else 0
