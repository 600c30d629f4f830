"""Reading the caption file of a picture: which file it is, its encoding, its one line."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from renma.core.errors import UserError
from renma.data.notes import Notes, shown

_LINE_END = re.compile(r"\r\n|\r|\n")  # str.splitlines would also cut at form feeds and U+2028


class CaptionFiles:
    """The caption files of one folder.

    The exact name wins. Failing that, case of the ending and Unicode form of the stem are
    overlooked: Windows tools write ``.TXT``, and names that went through macOS are decomposed.

    Args:
        folder: the folder.
        names: all file names in it.
        extension: ending of caption files, with its dot.
    """

    def __init__(self, folder: Path, names: Iterable[str], extension: str) -> None:
        self._folder, self._extension = folder, extension
        self._names = set(names)
        self._alike = {_folded(name): name for name in sorted(self._names)}

    def of(self, picture: Path) -> Path | None:
        """Returns the caption file of a picture, or None if there is none."""
        wanted = f"{picture.stem}{self._extension}"
        name = wanted if wanted in self._names else self._alike.get(_folded(wanted))
        return None if name is None or name == picture.name else self._folder / name


def read_caption(path: Path, separator: str, notes: Notes) -> str:
    """Returns the first line that is not blank, without blanks around it, or an empty string.

    A line of nothing but separators counts as empty.

    Raises:
        UserError: the file cannot be read, or is no text.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", where=shown(path)) from None
    lines = [line.strip() for line in _LINE_END.split(_decoded(raw, path, notes))]
    lines = [line for line in lines if line.replace(separator.strip() or separator, "").strip()]
    if len(lines) > 1:
        notes.add(f"{len(lines)} lines, only the first is used", path)
    return lines[0] if lines else ""


def _decoded(raw: bytes, path: Path, notes: Notes) -> str:
    """Decodes UTF-8, UTF-16 with byte order mark, else the Japanese Windows code page."""
    encoding = "utf-16" if raw.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError:
        text = _japanese(raw, path, notes)
    if "\0" in text:  # UTF-16 without a mark decodes as UTF-8, with a zero after every letter
        raise UserError(
            "holds zero bytes and is no UTF-8 text", where=shown(path), remedy="Save it as UTF-8."
        )
    return text


def _japanese(raw: bytes, path: Path, notes: Notes) -> str:
    try:
        text = raw.decode("cp932")
    except UnicodeDecodeError:
        raise UserError(
            "is not text in UTF-8", where=shown(path), remedy="Save it as UTF-8."
        ) from None
    notes.add("not UTF-8, read as cp932 (Shift JIS)", path)
    return text


def _folded(name: str) -> str:
    stem, dot, ending = name.rpartition(".")
    return unicodedata.normalize("NFC", f"{stem}{dot}{ending.lower()}" if dot else name)
