"""Files that a command is told to write: never over somebody's picture or caption."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from renma.core.errors import UserError
from renma.data.notes import shown

_HEAD = 1024


def check_target(
    path: Path | None,
    option: str,
    endings: tuple[str, ...],
    ours: Callable[[bytes], bool],
    remedy: str = "It is left as it is; name another file.",
) -> None:
    """Makes sure that a file may be written: nothing is there, or what the same option wrote.

    Args:
        path: the file; None where none is asked for.
        option: that names it, for the message.
        endings: what its name may end in, in small letters.
        ours: says of the first 1,024 bytes of a file that is there whether this option wrote it.
        remedy: what to do where something else wrote it.

    Raises:
        UserError: another ending, or a file that something else wrote.
    """
    if path is None:
        return
    if path.suffix.lower() not in endings:
        raise UserError(f"{option} must end in {' or '.join(endings)}", where=shown(path))
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except FileNotFoundError:
        return
    except OSError as error:
        raise UserError(f"cannot be written: {error.strerror}", where=shown(path)) from None
    if head and not ours(head):
        raise UserError(
            f"is there already and was not written by {option}",
            where=shown(path),
            remedy=remedy,
        )
