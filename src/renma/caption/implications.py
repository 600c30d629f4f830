"""Tags that say others: ``white shirt`` implies ``shirt``.

A file of implications has one a line, ``white shirt=shirt``; what is implied may imply more. Lines
that are empty or begin with # are passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from renma.caption.pairs import pair
from renma.caption.tags import Tags
from renma.core.errors import UserError
from renma.data.caption_file import decoded
from renma.data.notes import Notes, shown


class Implications:
    """What follows from each tag.

    Args:
        direct: tag to the tags it implies.

    Raises:
        UserError: a tag implies itself, through others or at once.
    """

    def __init__(self, direct: Mapping[str, tuple[str, ...]]) -> None:
        self._all: dict[str, Tags] = {}
        for tag in direct:
            self._all[tag] = _reached(tag, direct)

    @classmethod
    def of_file(cls, file: Path, form: Callable[[Tags], Tags]) -> Implications:
        """Returns the implications of a file.

        Args:
            file: one ``a=b`` a line.
            form: turns its tags into the form of the captions (underscores, brackets).

        Raises:
            UserError: it cannot be read, or a line is none.
        """
        direct: dict[str, Tags] = {}
        for number, line in enumerate(decoded(file, Notes()).splitlines(), 1):
            if line.strip() and not line.lstrip().startswith("#"):
                first, then = form(pair(line, f"{shown(file)}:{number}"))
                direct[first] = (*direct.get(first, ()), then)
        try:
            return cls(direct)
        except UserError as error:
            raise UserError(error.what, where=shown(file), remedy=error.remedy) from None

    def of(self, tag: str) -> Tags:
        """Returns all that a tag implies, the nearest first."""
        return self._all.get(tag, ())

    def drop(self, tags: Tags, kept: Tags = ()) -> Tags:
        """Returns the tags without those that another of them, or of ``kept``, implies."""
        said = {implied for tag in (*kept, *tags) for implied in self.of(tag)}
        return tuple(tag for tag in tags if tag not in said)

    def add(self, tags: Tags, kept: Tags = ()) -> Tags:
        """Returns the tags with what they and ``kept`` imply at the end."""
        present = dict.fromkeys((*kept, *tags))
        implied = dict.fromkeys(new for tag in present for new in self.of(tag))
        return (*tags, *(tag for tag in implied if tag not in present))


def _reached(tag: str, direct: Mapping[str, tuple[str, ...]]) -> Tags:
    """Returns what follows from a tag, near ones first."""
    found: dict[str, None] = {}
    waiting = list(direct[tag])
    for then in waiting:
        if then == tag:
            raise UserError(f"'{tag}' implies itself", remedy="Take one of the lines out.")
        if then not in found:
            found[then] = None
            waiting += direct.get(then, ())
    return tuple(found)
