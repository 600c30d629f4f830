"""Who works in a folder: whoever holds its lock."""

from __future__ import annotations

import threading
from pathlib import Path

from filelock import FileLock, Timeout

_LOOK = threading.Lock()
"""Two looks at once would each find the other's lock."""


def held(lock: Path) -> bool:
    """Says whether a process holds a lock file; where it cannot be opened, somebody does.

    Args:
        lock: the file; looking does not make it.
    """
    if not lock.exists():
        return False
    with _LOOK:
        found = FileLock(lock, timeout=0)
        try:
            found.acquire()
        except (Timeout, OSError):
            return True
        found.release()
        return False
