"""Names that every file system can hold: Windows', macOS' and Linux'."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from pathlib import PurePosixPath

LONGEST = 180
"""Bytes of UTF-8; file systems take 255, and endings, numbers and temporary names need room."""
_ILLEGAL = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029]')
_RESERVED = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?", re.I)


def safe_name(name: str) -> str:
    """Returns a file's or folder's name without what some file system refuses.

    Composed Unicode (NFC), no signs that Windows forbids, no control signs or bytes that are no
    text, no dot or blank at the ends, no hyphen in front (programs take it for an option), no
    device name, at most 180 bytes. What is fine stays as it is.
    """
    text = _ILLEGAL.sub("_", unicodedata.normalize("NFC", name)).strip(" ").rstrip(" .")
    if text.startswith((".", "-")):
        text = f"_{text}"
    if _RESERVED.fullmatch(text):
        text = f"_{text}"
    cut = text.encode()[:LONGEST].decode(errors="ignore").rstrip(" .")
    return cut or "picture"


class Names:
    """Hands out names without ending; none is given twice, whatever case a file system ignores.

    Args:
        taken: names that are in use already.
    """

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = {_folded(name) for name in taken}

    def take(self, wanted: PurePosixPath) -> str:
        """Returns a safe path near the wanted one; a number is added where it is taken.

        Args:
            wanted: path without ending, from the folder on.
        """
        parts = [safe_name(part) for part in wanted.parts] or ["picture"]
        bare = name = "/".join(parts)
        number = 1
        while _folded(name) in self._taken:
            number += 1
            name = f"{bare}-{number}"
        self._taken.add(_folded(name))
        return name

    @property
    def folded(self) -> frozenset[str]:
        """All names given so far, in one case."""
        return frozenset(self._taken)


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
