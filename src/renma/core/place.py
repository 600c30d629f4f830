"""What is at a path, and what somebody meant by one where nothing is."""

from __future__ import annotations

import os
from difflib import get_close_matches
from pathlib import Path


def is_there(path: Path) -> bool:
    """Says whether a file or folder exists; nothing does under a name that no disk can have."""
    try:
        return path.exists()
    except (OSError, ValueError):  # longer than names can be, or with a zero byte
        return False


def near(path: Path, *, files: bool = False) -> str:
    """Returns ``Did you mean 'x'?`` for the nearest folder to a path that does not exist.

    The first part of the path that is not there is compared with what lies beside it.

    Args:
        path: what was written.
        files: compare with files too.

    Returns:
        The question, or an empty string where nothing is near.
    """
    missing = path
    while not is_there(missing.parent) and missing.parent != missing:
        missing = missing.parent
    if is_there(missing):
        return ""
    rest = path.relative_to(missing)
    try:
        with os.scandir(missing.parent) as entries:
            shown = [e for e in entries if not e.name.startswith(".")]
            names = [e.name for e in shown if e.is_dir() or (files and rest == Path())]
    except OSError:  # nobody may look, or it is a file
        return ""
    # a folder in which the rest of the path lies says more than a name that is a little nearer
    whole = [name for name in names if is_there(missing.with_name(name) / rest)]
    if found := get_close_matches(missing.name, whole, n=1):
        return f"Did you mean '{missing.with_name(found[0]) / rest}'?"
    if found := get_close_matches(missing.name, names, n=1):
        return f"Did you mean '{missing.with_name(found[0])}'?"
    return ""
