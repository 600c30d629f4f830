"""Places in pictures that a person listed in a file: CSV, JSON or TOML."""

from __future__ import annotations

import csv
import io
import tomllib
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from renma.config.prepare._place import Place, read_place
from renma.core import json_file
from renma.core.errors import UserError, did_you_mean
from renma.core.text_file import decode

_COLUMNS = {
    "name": ("name", "picture", "file", "image", "filename"),
    "left": ("left", "x"),
    "top": ("top", "y"),
    "width": ("width", "w"),
    "height": ("height", "h"),
}
FORM = "name, left, top, width, height"


def read(file: Path, names: Iterable[str]) -> dict[str, tuple[Place, ...]]:
    """Returns the listed places of each picture that has some.

    Four numbers up to 1 are shares of the picture, as are numbers with ``%``; else they are pixels.

    Args:
        file: .csv (columns name, left, top, width, height), .json or .toml
            (``"name": [left, top, width, height]``, a list of such lists, or a list of tables).
        names: of the pictures, with forward slashes; in the file the ending may be left out, and
            the folder too where that is clear.

    Raises:
        UserError: a file that cannot be read, a line that is no box, a name of no picture.
    """
    known = _known(names)
    found: dict[str, tuple[Place, ...]] = {}
    unknown: list[tuple[str, str]] = []
    for where, name, cells in _entries(file):
        plain = unicodedata.normalize("NFC", name.replace("\\", "/").removeprefix("./"))
        place = read_place(cells, where)
        if (picture := known.get(plain)) is None:
            unknown.append((where, plain))
        else:
            found[picture] = (*found.get(picture, ()), place)
    if unknown:
        where, name = unknown[0]
        more = f" (and {len(unknown) - 1} more such lines)" if len(unknown) > 1 else ""
        raise UserError(
            f"there is no picture '{name}'{more}", where=where, remedy=did_you_mean(name, known)
        )
    if not found:
        raise UserError("lists no boxes", where=file, remedy=f"Write {FORM}.")
    return found


def _known(names: Iterable[str]) -> dict[str, str]:
    """Returns what each picture may be called: path, path without ending, bare name if unique."""
    whole: dict[str, str] = {}
    shorter: dict[str, list[str]] = {}
    for name in names:
        path = PurePosixPath(unicodedata.normalize("NFC", name))
        whole[str(path)] = name
        for each in {str(path.with_suffix("")), path.name, path.stem} - {str(path)}:
            shorter.setdefault(each, []).append(name)
    return {each: own[0] for each, own in shorter.items() if len(own) == 1} | whole


def _entries(file: Path) -> Iterator[tuple[str, str, list[Any]]]:
    """Yields where it stands, the picture's name and four values of each entry."""
    try:
        text, _ = decode(file.read_bytes(), file)
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror})", where=file) from None
    match file.suffix.lower():
        case ".json":
            yield from _from_data(json_file.parse(text, file), file)
        case ".toml":
            try:
                data = tomllib.loads(text)
            except tomllib.TOMLDecodeError as error:
                raise UserError(f"is not TOML: {error}", where=file) from None
            yield from _from_data(data, file)
        case _:
            yield from _from_table(text, file)


def _from_table(text: str, file: Path) -> Iterator[tuple[str, str, list[Any]]]:
    comma = max(",;\t", key=text.partition("\n")[0].count)
    order = [*_COLUMNS]
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=comma)
        rows = [(reader.line_num, [c.strip() for c in r]) for r in reader if any(map(str.strip, r))]
    except csv.Error as error:
        raise UserError(f"is no table ({error})", where=file) from None
    for index, (number, cells) in enumerate(rows):
        where = f"{file}, line {number}"
        if index == 0 and (heads := _heads(cells)):
            order = heads
            continue
        if len(cells) != len(order):
            raise UserError(f"has {len(cells)} columns", where=where, remedy=f"Write {FORM}.")
        row = dict(zip(order, cells, strict=True))
        yield where, row["name"], [row[name] for name in ("left", "top", "width", "height")]


def _heads(cells: list[str]) -> list[str]:
    """Returns which column is what where a line is headings, else nothing."""
    names = {word: name for name, words in _COLUMNS.items() for word in words}
    found = [names.get(cell.lower(), cell.lower()) for cell in cells]
    return found if set(_COLUMNS) <= set(found) else []


def _from_data(data: Any, file: Path) -> Iterator[tuple[str, str, list[Any]]]:
    if isinstance(data, dict):
        tables = [v for v in data.values() if isinstance(v, list) and v and _is_named(v[0])]
        if tables and len(data) == 1:  # TOML has no list without a name: [[box]]
            data = tables[0]
    if isinstance(data, list):
        for number, each in enumerate(data, 1):
            if not _is_named(each):
                raise UserError(
                    "has no name", where=f"{file}, box {number}", remedy=f"Give {FORM}."
                )
            yield f"{file}, box {number}", str(_field(each, "name")), _values(each)
        return
    if not isinstance(data, dict):
        raise UserError("lists no boxes", where=file, remedy=f"Give {FORM}.")
    for name, value in data.items():
        many = isinstance(value, list) and value and isinstance(value[0], list | dict)
        for number, each in enumerate(value if many else [value], 1):
            where = f"{file}, {name}" + (f", box {number}" if many else "")
            yield where, name, _values(each)


def _is_named(entry: Any) -> bool:
    return isinstance(entry, dict) and _field(entry, "name") is not None


def _field(entry: dict[str, Any], name: str) -> Any:
    return next((entry[word] for word in _COLUMNS[name] if word in entry), None)


def _values(entry: Any) -> list[Any]:
    if isinstance(entry, dict):
        return [_field(entry, name) for name in ("left", "top", "width", "height")]
    return entry if isinstance(entry, list) else [entry]
