"""Mask files: which one belongs to a picture."""

from __future__ import annotations

import unicodedata
from pathlib import Path

from renma.core.errors import UserError
from renma.data.notes import shown
from renma.data.pictures import ENDINGS


class Masks:
    """The masks in one folder, found by the picture's name; any picture ending does.

    Args:
        folder: the folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names = {
            unicodedata.normalize("NFC", path.stem): path
            for path in sorted(folder.iterdir(), reverse=True)
            if path.suffix.lower() in ENDINGS and not path.name.startswith(".")
        }

    def of(self, picture: Path) -> Path:
        """Returns the mask of a picture.

        Raises:
            UserError: there is none; training on all of the picture in silence would be a surprise.
        """
        found = self._names.get(unicodedata.normalize("NFC", picture.stem))
        if found is None:
            raise UserError(
                f"has no mask in {shown(self._folder)}",
                where=shown(picture),
                remedy="Draw one of the same name: white counts, black does not.",
            )
        return found
