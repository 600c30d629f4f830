"""From TOML and ``--set`` to a validated Run; every mistake is one line with its place."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import tomlkit
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from renma.config._base import Section
from renma.core.errors import UserError, did_you_mean
from renma.core.place import is_there

if TYPE_CHECKING:
    from renma.config.run import Run

_ALIASES = {
    "locon": 'LoCon is algo = "lora" with targets.preset = "conv".',
    "dora": 'DoRA is algo = "lora" with dora = "output".',
    "lycoris": "LyCORIS' algorithms have their own names: loha, lokr, full, glora, oft ...",
    "diag-oft": 'It is algo = "oft" here.',
}
"""Names that people know for what is an option of something else here."""
Model = TypeVar("Model", bound=Section)
Raw = dict[str, Any]


def read_toml(path: Path) -> Raw:
    """Reads a TOML file (UTF-8, with or without byte order mark).

    Raises:
        UserError: the file is missing, no text, or no TOML.
    """
    if is_there(path) and path.is_dir():
        raise UserError("is a folder, not a TOML file", where=path, remedy=_inside(path))
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise UserError(
            "there is no such file", where=path, remedy="`renma init DIR` makes one to start from."
        ) from None
    except (UnicodeDecodeError, OSError) as error:
        raise UserError(
            f"cannot be read: {error}", where=path, remedy="Save it as UTF-8."
        ) from None
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
        raise _translate(error.errors(), model, source, tuple(assignments)) from None


def load_run(path: Path, assignments: Iterable[str] = ()) -> Run:
    """Reads ``run.toml``, lays ``--set`` assignments over it and checks it."""
    from renma.config.run import Run

    assignments = tuple(assignments)
    return validate(Run, set_values(read_toml(path), assignments), path, assignments)


def dump(run: Section) -> str:
    """Returns the complete run as TOML, every default written out."""
    return tomlkit.dumps(_without_none(run.model_dump(mode="json")))


def _translate(
    errors: list[ErrorDetails],
    model: type[Section],
    source: Path | str,
    assignments: tuple[str, ...],
) -> UserError:
    # unknown keys first: the other errors are often their consequence
    first = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])
    path = [part for part in first["loc"] if not _is_tag(part, first["loc"], model)]
    if first["type"].startswith("union_tag"):
        path.append(str(first.get("ctx", {}).get("discriminator", "")).strip("'"))
    key = ".".join(str(part) for part in path)
    where = _where(path, source, assignments)
    if first["type"] == "extra_forbidden":
        name = str(path[-1])
        known = known_keys(model, path[:-1])
        if name in known:
            chosen = next(part for part in first["loc"] if _is_tag(part, first["loc"], model))
            return UserError(
                f"'{key}' means nothing to '{chosen}'",
                where=where,
                remedy=_anew(str(path[0]), str(chosen), assignments),
            )
        hint = _elsewhere(name, model) or _kohya(name, model) or did_you_mean(name, known)
        return UserError(f"unknown key '{key}'", where=where, remedy=hint or _list(known))
    if first["type"] == "missing":
        return UserError(
            f"'{key}' is missing", where=where, remedy="Give it a value: it has no default."
        )
    if first["type"].startswith("union_tag"):
        allowed = str(first.get("ctx", {}).get("expected_tags", "")).replace("'", "")
        tag = str(first.get("ctx", {}).get("tag", ""))
        return UserError(
            f"'{key}': '{tag}' is not one of {allowed}",
            where=where,
            remedy=_ALIASES.get(tag) or did_you_mean(tag, allowed.split(", ")),
        )
    return UserError(_complaint(key, first), where=where, remedy=_nearest(first))


_NO = {
    "int_type": "is no whole number", "int_parsing": "is no whole number",
    "int_from_float": "is no whole number", "float_type": "is no number",
    "float_parsing": "is no number", "bool_type": "is neither true nor false",
    "string_type": "is no text", "tuple_type": "is no list", "dict_type": "is no table",
    "string_pattern_mismatch": "has signs that cannot stand there",
}  # fmt: skip


_NUMBERS = frozenset(name for name, text in _NO.items() if text.endswith("number"))
_PLAIN = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
_REMEDIES = {
    "bool_type": "Write true or false.",
    "string_pattern_mismatch": "Use letters, digits, blanks, - and _.",
}  # fmt: skip


def _complaint(key: str, error: ErrorDetails) -> str:
    """Returns what is wrong with a value, in the user's words."""
    if isinstance(error["input"], dict):  # a rule about several keys of a section
        return f"[{key}]: {error['msg'].removeprefix('Value error, ')}"
    given = f"'{key}' = {error['input']!r:.80}"
    if error["type"] in _NO:
        return f"{given} {_NO[error['type']]}"
    text = error["msg"][0].lower() + error["msg"][1:]
    return f"{given}: {text.removeprefix('value error, ')}"


def _nearest(error: ErrorDetails) -> str:
    """Returns how to write a value that nearly is one."""
    given = error["input"]
    if error["type"] in _NUMBERS and isinstance(given, str) and _PLAIN.fullmatch(given.strip()):
        return f"Write it without quotes: {given.strip()}."
    if error["type"].startswith("int_") and isinstance(given, float):
        return "Write it without a fraction."
    if error["type"] in _REMEDIES:
        return _REMEDIES[error["type"]]
    if error["type"] == "tuple_type" and isinstance(given, str | int | float):
        return f"Put it into brackets: [{json.dumps(given, ensure_ascii=False)}]."
    if error["type"] == "literal_error" and isinstance(given, str):
        expected = re.findall(r"'([^']*)'", str(error.get("ctx", {}).get("expected", "")))
        return did_you_mean(given, expected)
    return ""


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


def known_keys(model: type[BaseModel], path: Iterable[str | int]) -> list[str]:
    """Returns the keys that are allowed at a place of the schema."""
    models = [model]
    for part in path:
        if isinstance(part, str):
            models = [m for parent in models for m in _submodels(parent, part)]
    return sorted({name for m in models for name in m.model_fields})


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


def _submodels(model: type[BaseModel], name: str) -> list[type[BaseModel]]:
    field = model.model_fields.get(name)
    return list(_models_in(field.annotation)) if field else []


def _models_in(annotation: Any) -> Iterable[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)


def _anew(section: str, chosen: str, assignments: Iterable[str]) -> str:
    """Says how to choose another algorithm for one time without the keys of the file's own."""
    for assignment in assignments:
        name, _, value = assignment.partition("=")
        if name.startswith(f"{section}.") and value.strip("'\" ") == chosen:
            tag = name.partition(".")[2]
            return f"Replace the whole section: --set '{section}={{{tag}=\"{chosen}\"}}'."
    return "Remove it."


def _is_tag(part: Any, location: tuple[Any, ...], model: type[Section]) -> bool:
    """Says whether a part of an error's place is a union's tag, which no user wrote."""
    index = location.index(part)
    if index != 1 or not isinstance(part, str):
        return False
    options = _submodels(model, str(location[0]))
    tags = {
        field.default
        for m in options
        for field in (m.model_fields.get("name"), m.model_fields.get("algo"))
        if field
    }
    return part in tags


def _elsewhere(key: str, model: type[Section]) -> str:
    """Says where a key that stands in the wrong section belongs."""
    for section in model.model_fields:
        if key in known_keys(model, [section]):
            return f"It belongs into [{section}]."
    return ""


def _kohya(key: str, model: type[Section]) -> str:
    """Says what an option of sd-scripts is called here."""
    if key in ("general", "datasets"):
        return "A data set file of sd-scripts is given with --dataset-config."
    place = _called(key, model, ())
    return f"It is called {place} here." if place else ""


def _called(key: str, model: type[BaseModel], above: tuple[str, ...]) -> str:
    """Returns the dotted name of the option with kohya's name ``key``, here or in tables inside."""
    for name, field in model.model_fields.items():
        extra = field.json_schema_extra
        if isinstance(extra, dict) and extra.get("kohya") == key:
            return ".".join((*above, name))
        for part in _submodels(model, name):
            if found := _called(key, part, (*above, name)):
                return found
    return ""


def _list(known: list[str]) -> str:
    return f"Known keys: {', '.join(known)}." if known else ""


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
