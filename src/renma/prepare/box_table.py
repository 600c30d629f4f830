"""Places in pictures from a table: ``picture,x,y,width,height``, one a line."""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from renma.config.prepare.erase import place
from renma.core.errors import UserError, did_you_mean
from renma.core.text_file import decode

_HEADS = {"picture", "name", "file", "image", "filename"}


def read_boxes(file: Path, names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Returns the written places of each picture that has some.

    Args:
        file: CSV with commas, semicolons or tabs; a first line of headings is passed over.
        names: of the pictures, with forward slashes.

    Raises:
        UserError: no such file, a line that cannot be read, or one for a picture that is not there.
    """
    known = {unicodedata.normalize("NFC", name): name for name in names}
    found: dict[str, tuple[str, ...]] = {}
    for number, row in _rows(file):
        where = f"{file}, line {number}"
        cells = [cell.strip() for cell in row]
        if number == 1 and cells[0].lower() in _HEADS:
            continue
        if len(cells) != 5:
            raise UserError(
                f"has {len(cells)} columns", where=where, remedy="Write picture,x,y,width,height."
            )
        name = unicodedata.normalize("NFC", cells[0].replace("\\", "/"))
        if name not in known:
            raise UserError(
                f"there is no picture '{name}'", where=where, remedy=did_you_mean(name, known)
            )
        box = ",".join(cells[1:])
        try:
            place(box, 10**9, 10**9)
        except UserError as error:
            raise UserError(error.what, where=where, remedy=error.remedy) from None
        found[known[name]] = (*found.get(known[name], ()), box)
    return found


def _rows(file: Path) -> list[tuple[int, list[str]]]:
    try:
        data = file.read_bytes()
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror})", where=file) from None
    text, _ = decode(data, file)
    first = text.partition("\n")[0]
    comma = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=comma)
    try:
        return [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise UserError(f"is no table ({error})", where=file) from None
