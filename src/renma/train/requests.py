"""What others ask a run for while it trains: an empty file in its folder, taken at the next step.

Signals reach a process of the same machine and user only, and Windows has few of them; a file works
everywhere, and for runs that a terminal, a cluster or the studio began alike.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Literal

Wish = Literal["stop", "save", "sample"]
FOLDER = "requests"


def ask(run: Path, wish: Wish) -> None:
    """Asks a run to save and stop, to save a state, or to draw its previews.

    Args:
        run: the folder of the run.
        wish: what is asked for.
    """
    folder = run / FOLDER
    folder.mkdir(exist_ok=True)
    (folder / wish).touch()


def take(run: Path, wish: Wish) -> bool:
    """Says whether something is asked for, once."""
    try:
        (run / FOLDER / wish).unlink()
    except OSError:
        return False
    return True


def forget(run: Path) -> None:
    """Drops what an earlier session of the run was asked for and did not get to."""
    for path in (run / FOLDER).glob("*"):
        with suppress(OSError):
            path.unlink()
