"""Whether something is at a path, for any text that somebody may have written as one."""

from __future__ import annotations

from pathlib import Path


def is_there(path: Path) -> bool:
    """Says whether a file or folder exists; nothing does under a name that no disk can have."""
    try:
        return path.exists()
    except (OSError, ValueError):  # longer than names can be, or with a zero byte
        return False
