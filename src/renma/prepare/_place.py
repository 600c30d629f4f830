"""Where a command may write: apart from what it reads, and never among somebody else's files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from renma.core.errors import UserError
from renma.prepare._record import Head
from renma.prepare._sources import RECORD


def check_apart(target: Path, others: Iterable[Path], flag: str = "-o") -> None:
    """Makes sure that a folder to fill and folders of pictures do not lie in one another.

    Args:
        target: the folder to fill.
        others: folders of pictures; files are passed over.
        flag: the option that names the target.

    Raises:
        UserError: they do.
    """
    place = target.resolve()
    for other in (each.resolve() for each in others):
        if not other.is_file() and (
            place == other or place in other.parents or other in place.parents
        ):
            raise UserError(
                f"lies within a folder of pictures, or around it: {other}",
                where=f"{flag} {target}",
                remedy=f"Choose a folder beside it with {flag}: originals are never changed.",
            )


def check_ours(out: Path, head: Head | None, verb: str) -> None:
    """Makes sure that nothing is mixed with what somebody else put there.

    Args:
        out: the folder to fill.
        head: what its record says.
        verb: of the command that is about to fill it.

    Raises:
        UserError: another command made it, or it is not empty.
    """
    if head and head.verb != verb:
        raise UserError(
            f"was made by `renma prepare {head.verb}`", where=out, remedy="Choose another with -o."
        )
    if head is None and not is_empty(out):
        raise UserError(
            "is not empty and was not made by this command",
            where=out,
            remedy="Choose another with -o.",
        )


def is_empty(folder: Path) -> bool:
    """Says whether nothing but our own notes lies in a folder, or whether there is none.

    Raises:
        UserError: it cannot be read, or is a file.
    """
    try:
        return not folder.exists() or all(path.name == RECORD for path in folder.iterdir())
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror})", where=folder) from None
