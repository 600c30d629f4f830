"""Reading the caption file of a picture: which file it is, its encoding, its one line."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from renma.core.errors import UserError
from renma.core.text_file import JAPANESE, decode
from renma.data.augment import FACE
from renma.data.notes import Notes, shown

_LINE_END = re.compile(r"\r\n|\r|\n")  # str.splitlines would also cut at form feeds and U+2028


class CaptionFiles:
    """The caption files of one folder.

    The exact name wins. Failing that, case of the ending and Unicode form of the stem are
    overlooked: Windows tools write ``.TXT``, and names that went through macOS are decomposed. A
    picture named by a face detector (``name_cx_cy_w_h.png``) may share the caption of its original.

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
        stems = [picture.stem]
        if FACE.search(picture.stem):
            stems.append(picture.stem.rsplit("_", 4)[0])
        for stem in stems:
            wanted = f"{stem}{self._extension}"
            name = wanted if wanted in self._names else self._alike.get(_folded(wanted))
            if name is not None and name != picture.name:
                return self._folder / name
        return None


def read_caption(path: Path, separator: str, notes: Notes, *, many: bool = False) -> str:
    """Returns the first line that is not blank, without blanks around it, or an empty string.

    A line of nothing but separators counts as empty.

    Args:
        path: the caption file.
        separator: what stands between tags.
        notes: told about encodings and lines that are not used.
        many: return all lines, joined by line feeds.

    Raises:
        UserError: the file cannot be read, or is no text.
    """
    lines = caption_lines(decoded(path, notes), separator)
    if len(lines) > 1 and not many:
        notes.add(f"{len(lines)} lines, only the first is used", path)
    return "\n".join(lines if many else lines[:1])


def caption_lines(text: str, separator: str = ",") -> list[str]:
    """Returns the lines that say something, without blanks around them."""
    bare = separator.strip() or separator
    lines = [line.strip() for line in _LINE_END.split(text)]
    return [line for line in lines if line.replace(bare, "").strip()]


def decoded(path: Path, notes: Notes) -> str:
    """Returns the text of a file, whatever encoding its editor wrote.

    Raises:
        UserError: the file cannot be read, or is no text.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", where=shown(path)) from None
    text, encoding = decode(raw, shown(path))
    if encoding == JAPANESE:
        notes.add("not UTF-8, read as cp932 (Shift JIS)", path)
    return text


def _folded(name: str) -> str:
    stem, dot, ending = name.rpartition(".")
    return unicodedata.normalize("NFC", f"{stem}{dot}{ending.lower()}" if dot else name)
