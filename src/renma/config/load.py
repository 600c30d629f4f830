"""From TOML and ``--set`` to a validated Run; every mistake is one line with its place."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import tomlkit
from pydantic import ValidationError

from renma.config._base import Section
from renma.config.mistakes import translated
from renma.core import text_file
from renma.core.errors import UserError
from renma.core.place import is_there

if TYPE_CHECKING:
    from renma.config.run import Run

Model = TypeVar("Model", bound=Section)
Raw = dict[str, Any]


def read_toml(path: Path) -> Raw:
    """Reads a TOML file (UTF-8, with or without byte order mark).

    Raises:
        UserError: the file is missing, no text, or no TOML.
    """
    if is_there(path) and path.is_dir():
        raise UserError("is a folder, not a TOML file", where=path, remedy=_inside(path))
    text = text_file.read(path, "`renma init DIR` makes one to start from.")
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UserError(
            f"is not valid TOML: {error}", where=path, remedy=_toml_hint(path)
        ) from None
    except RecursionError:
        raise UserError(
            "is nested too deeply", where=path, remedy="A run has tables of tables only."
        ) from None


def set_values(raw: Raw, assignments: Iterable[str]) -> Raw:
    """Returns ``raw`` with ``section.key=value`` assignments laid over it.

    Values are TOML (``8``, ``0.5``, ``true``, ``[1, 2]``); what is none is taken as text.

    Raises:
        UserError: an assignment without ``=`` or through a value that is no table.
    """
    result = _copy(raw)
    for assignment in assignments:
        name, sign, text = assignment.partition("=")
        where = f"--set {assignment}"
        if not sign or not name.strip():
            raise UserError(
                "is not of the form section.key=value",
                where=where,
                remedy="Such as --set adapter.rank=8.",
            )
        *parents, last = name.strip().split(".")
        table = result
        for parent in parents:
            table = table.setdefault(parent, {})
            if not isinstance(table, dict):
                raise UserError(f"'{parent}' is not a section", where=where)
        table[last] = _value(text)
    return result


def validate(
    model: type[Model],
    raw: Mapping[str, Any],
    source: Path | str,
    assignments: Iterable[str] = (),
) -> Model:
    """Returns the validated section or run.

    Args:
        model: the schema.
        raw: what was read.
        source: the file, for messages.
        assignments: what ``--set`` laid over it, so that a mistake there is found there.

    Raises:
        UserError: the first mistake, with file, line, key and the nearest known name.
    """
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        given = tuple(assignments)
        raise translated(
            error.errors(), model, raw, lambda path: _where(path, source, given)
        ) from None


def load_run(path: Path, assignments: Iterable[str] = ()) -> Run:
    """Reads ``run.toml``, lays ``--set`` assignments over it and checks it."""
    from renma.config.run import Run

    assignments = tuple(assignments)
    return validate(Run, set_values(read_toml(path), assignments), path, assignments)


def dump(run: Section) -> str:
    """Returns the complete run as TOML, every default written out."""
    return tomlkit.dumps(_without_none(run.model_dump(mode="json")))


def _where(path: list[Any], source: Path | str, assignments: tuple[str, ...]) -> str:
    """Returns the place of a key: its ``--set``, or file and line."""
    names = [part for part in path if isinstance(part, str)]
    for assignment in reversed(assignments):
        given = assignment.partition("=")[0].strip().split(".")
        if given == names[: len(given)]:
            return f"--set {assignment}"
    line = 0
    while isinstance(source, Path) and path and not line:  # a list's item has its key's line
        line = find_line(source, path)
        path = path[:-1]
    return f"{source}:{line}" if line else str(source)


def find_line(path: Path, keys: list[Any]) -> int:
    """Returns the 1-based line where a key of a TOML file stands, or 0 if it is not written there.

    Array tables are counted, so ``datasets, 1, batch_size`` finds the second data set's.
    """
    if not path.exists() or not keys:
        return 0
    *parents, last = keys
    counts: dict[tuple[str, ...], int] = {}
    here: list[Any] = []
    for number, text in enumerate(path.read_text("utf-8-sig", errors="replace").splitlines(), 1):
        stripped = text.strip()
        if stripped.startswith("["):
            here = _table_path(stripped, counts)
            if here == keys:
                return number
        name = stripped.split("=", 1)[0].strip().strip("\"'")
        if "=" in stripped and [*here, *name.split(".")] == [*parents, last]:
            return number
    return 0


def _table_path(header: str, counts: dict[tuple[str, ...], int]) -> list[Any]:
    array = header.startswith("[[")
    names = tuple(p.strip().strip("\"'") for p in header.split("]")[0].strip("[ ").split("."))
    if array:
        counts[names] = counts.get(names, -1) + 1
        for deeper in [n for n in counts if len(n) > len(names) and n[: len(names)] == names]:
            del counts[deeper]
    path: list[Any] = []
    for depth in range(1, len(names) + 1):
        path.append(names[depth - 1])
        if names[:depth] in counts:
            path.append(counts[names[:depth]])
    return path


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"x = {text}")["x"]
    except (tomllib.TOMLDecodeError, RecursionError):  # the latter: thousands of brackets
        return text.strip()


def _copy(raw: Any) -> Any:
    if isinstance(raw, dict):
        return {name: _copy(value) for name, value in raw.items()}
    return [_copy(value) for value in raw] if isinstance(raw, list) else raw


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_none(v) for k, v in value.items() if v is not None}
    return [_without_none(v) for v in value] if isinstance(value, list) else value


def _inside(folder: Path) -> str:
    run = folder / "run.toml"
    return f"Did you mean {run}?" if run.exists() else "Give the run.toml itself."


def _toml_hint(path: Path) -> str:
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    windows = any("\\" in line and '"' in line for line in text.splitlines())
    if windows:
        return "Write Windows paths in single quotes: 'E:\\train'."
    return "Look there for a bracket or quote without its other half, or a text without quotes."
