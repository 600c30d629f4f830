"""Where the option stands that a mistake is about, and what a wrong path was meant to be."""

from __future__ import annotations

import re
from pathlib import Path

from renma.config.load import find_line
from renma.core.errors import UserError, did_you_mean
from renma.core.place import is_there

_OPTION = re.compile(r"[a-z]\w*(\.\w+)+(?= = |: |$)|[a-z]\w*(?= = )")
"""``section.key``, or the bare ``key`` of a data set's folder with its value."""
_NAMED = re.compile(r"\b(data|model|adapter|optimizer|schedule|objective|train|sample)\.\w+")


def pointed(error: UserError, file: Path, assignments: tuple[str, ...] = ()) -> UserError:
    """Returns the mistake with the place of its option in front, if it names one.

    Args:
        error: what was raised.
        file: run.toml or the data set file.
        assignments: what ``--set`` laid over it.
    """
    named = _option(error)
    if not named:
        return error
    remedy = error.remedy or _meant(str(error.where or ""))
    what = f"{error.where}: {error.what}" if error.where else error.what
    for assignment in reversed(assignments):
        name = assignment.partition("=")[0].strip()
        if name == named or named.startswith(f"{name}."):
            # --set names the option already
            given, _, value = str(error.where or "").partition(" = ")
            if given == name:
                place = f"--set {name}={value}" if value else f"--set {name}"
                return UserError(error.what, where=place, remedy=remedy)
            return UserError(what, where=f"--set {name}", remedy=remedy)
    line = _line(file, named.split("."))
    if line:
        return UserError(what, where=f"{file}:{line}", remedy=remedy)
    return UserError(error.what, where=error.where, remedy=remedy)


def _option(error: UserError) -> str:
    """Returns the option that a mistake names, or an empty text."""
    if isinstance(error.where, Path):
        return ""
    match = _OPTION.match(str(error.where)) if error.where else _NAMED.search(error.what)
    return match[0] if match else ""


def _meant(where: str) -> str:
    """Returns what to do about ``option = path`` where there is nothing at the path."""
    _, sign, given = where.partition(" = ")
    if not sign:
        return ""
    if any(not letter.isprintable() for letter in given):
        return "Write Windows paths in single quotes: 'E:\\train'."
    path = Path(given)
    if is_there(path) or not is_there(path.parent) or not path.parent.is_dir():
        return "Give the path as seen from the folder of the run file, or the whole path."
    near = did_you_mean(path.name, (other.name for other in path.parent.iterdir()))
    return near or f"There is no '{path.name}' in {path.parent}."


def _line(file: Path, keys: list[str]) -> int:
    """Returns the line of an option, of its table, or of a folder's key at any level; else 0."""
    of_a_folder = len(keys) == 1 or keys[0] == "data"
    places = [keys, *([keys[:-1]] if len(keys) > 2 else [])]
    found = next((line for place in places if (line := find_line(file, list(place)))), 0)
    return found or (_anywhere(file, keys[-1]) if of_a_folder and file.is_file() else 0)


def _anywhere(file: Path, key: str) -> int:
    """Returns the only line that sets a key, in whatever table; 0 if there are several."""
    rows = file.read_text("utf-8-sig", errors="replace").splitlines()
    sets = re.compile(rf"[^#]*(?<![\w.]){re.escape(key)}\s*=")
    found = [number for number, row in enumerate(rows, 1) if sets.match(row)]
    return found[0] if len(found) == 1 else 0
