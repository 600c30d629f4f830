"""Mistakes that pydantic finds, in the user's words: what is wrong and what to write instead."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from renma.config._base import Section
from renma.core.errors import UserError, did_you_mean

_ALIASES = {
    "locon": 'LoCon is algo = "lora" with targets.preset = "conv".',
    "dora": 'DoRA is algo = "lora" with dora = "output".',
    "lycoris": "LyCORIS' algorithms have their own names: loha, lokr, full, glora, oft ...",
    "diag-oft": 'It is algo = "oft" here.',
}
"""Names that people know for what is an option of something else here."""


def translated(
    errors: list[ErrorDetails],
    model: type[Section],
    raw: Mapping[str, Any],
    place: Callable[[list[Any]], str],
) -> UserError:
    """Returns the mistake behind what pydantic found.

    Args:
        errors: all that it found.
        model: the schema.
        raw: what was validated.
        place: says where a key stands.
    """
    # unknown keys first: the other errors are often their consequence
    first = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])
    path = [part for part in first["loc"] if not _is_tag(part, first["loc"], model)]
    if first["type"].startswith("union_tag"):
        path.append(str(first.get("ctx", {}).get("discriminator", "")).strip("'"))
    key = ".".join(str(part) for part in path)
    where = place(path)
    if first["type"] == "extra_forbidden":
        return _unknown(errors, first, path, model, where)
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
    remedy = _as_list(model, raw, first) or _nearest(first)
    return UserError(_complaint(key, first), where=where, remedy=remedy)


def _unknown(
    errors: list[ErrorDetails],
    first: ErrorDetails,
    path: list[Any],
    model: type[Section],
    where: str,
) -> UserError:
    """Returns the mistake of a key that its table does not have."""
    name, key = str(path[-1]), ".".join(map(str, path))
    known = known_keys(model, path[:-1])
    if name not in known:
        names = [str(part) for part in path[:-1] if isinstance(part, str)]
        hint = _elsewhere(name, model, names) or _kohya(name, model) or did_you_mean(name, known)
        return UserError(f"unknown key '{key}'", where=where, remedy=hint or _list(known))
    chosen = next(part for part in first["loc"] if _is_tag(part, first["loc"], model))
    others = [
        str(e["loc"][-1])
        for e in errors
        if e is not first and e["type"] == first["type"] and e["loc"][:-1] == first["loc"][:-1]
    ]
    more = f", and {', '.join(others)} too" if others else ""
    return UserError(
        f"'{key}' means nothing to '{chosen}'", where=where, remedy=f"Remove it{more}."
    )


_NO = {
    "int_type": "is no whole number", "int_parsing": "is no whole number",
    "int_from_float": "is no whole number", "float_type": "is no number",
    "float_parsing": "is no number", "bool_type": "is neither true nor false",
    "string_type": "is no text", "tuple_type": "is no list", "dict_type": "is no table",
    "string_pattern_mismatch": "has signs that cannot stand there",
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


_NUMBERS = frozenset(name for name, text in _NO.items() if text.endswith("number"))
_PLAIN = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
_REMEDIES = {
    "bool_type": "Write true or false.",
    "string_pattern_mismatch": "Use letters, digits, blanks, - and _.",
}  # fmt: skip


def _nearest(error: ErrorDetails) -> str:
    """Returns how to write a value that nearly is one."""
    given = error["input"]
    if error["type"] in _NUMBERS and isinstance(given, str) and _PLAIN.fullmatch(given.strip()):
        return f"Write it without quotes: {given.strip()}."
    if error["type"].startswith("int_") and isinstance(given, float):
        return "Write it without a fraction."
    if error["type"] in _REMEDIES:
        return _REMEDIES[error["type"]]
    if error["type"] == "literal_error" and isinstance(given, str):
        expected = re.findall(r"'([^']*)'", str(error.get("ctx", {}).get("expected", "")))
        return did_you_mean(given, expected)
    return ""


def _as_list(model: type[Section], raw: Mapping[str, Any], error: ErrorDetails) -> str:
    """Returns how to write a value that stands where a list is meant, empty where nothing fits."""
    given = error["input"]
    if error["type"] != "tuple_type" or not isinstance(given, str | int | float):
        return ""
    parsed = _elements(given) if isinstance(given, str) else [given]
    path = [part for part in error["loc"] if not _is_tag(part, error["loc"], model)]
    if parsed and _fits(model, raw, path, parsed):
        how = "Write it as a list, without quotes" if parsed != [given] else "Put it into brackets"
        return f"{how}: {json.dumps(parsed)}."
    if _fits(model, raw, path, [given]):
        return f"Put it into brackets: [{json.dumps(given, ensure_ascii=False)}]."
    if len(parsed) == 1 and _fits(model, raw, path, parsed[0]):
        return f"Write it without quotes: {json.dumps(parsed[0])}."
    return "Write a list in brackets: [a, b]."


def _elements(text: str) -> list[Any]:
    """Returns the numbers of a text such as ``512,512`` or ``512x512``; none if it holds others."""
    parts = re.split(r"\s*[,;x×]\s*|\s+", text.strip("[]() \t"))
    if not all(map(_PLAIN.fullmatch, parts)):
        return []
    return [float(part) if re.search(r"[.eE]", part) else int(part) for part in parts]


def _fits(model: type[Section], raw: Mapping[str, Any], path: list[Any], value: Any) -> bool:
    """Says whether nothing is wrong at a place any more once another value stands there."""
    changed = copy.deepcopy(dict(raw))
    table = changed
    for part in path[:-1]:
        table = table[part]
    table[path[-1]] = value
    try:
        model.model_validate(changed)
    except ValidationError as error:
        at = [[p for p in e["loc"] if not _is_tag(p, e["loc"], model)] for e in error.errors()]
        return not any(place[: len(path)] == path for place in at)
    return True


def _elsewhere(key: str, model: type[Section], here: list[str]) -> str:
    """Says where a key that stands in the wrong table belongs; the nearest of several places."""
    wanted = SHORT_NAMES.get(key, key)
    places = [place for place in _tables(model, ()) if wanted in known_keys(model, place[0])]
    if not places:
        return ""

    def distance(names: tuple[str, ...]) -> int:
        shared = next(
            (i for i, pair in enumerate(zip(names, here, strict=False)) if pair[0] != pair[1]),
            min(len(names), len(here)),
        )
        return len(names) + len(here) - 2 * shared

    names, many = min(places, key=lambda place: distance(place[0]))
    if wanted != key:
        return f"It is called {'.'.join((*names, wanted))} here."
    if not names:
        return "It belongs to the top of the file, above every [section]."
    table = ".".join(names)
    return f"It belongs into {f'[[{table}]]' if many else f'[{table}]'}."


SHORT_NAMES = {"lr": "learning_rate", "dim": "rank", "repeats": "num_repeats"}
"""What people call options that have a longer name here."""


def _tables(
    model: type[BaseModel], above: tuple[str, ...]
) -> Iterable[tuple[tuple[str, ...], bool]]:
    """Yields the names of all tables of a schema, and whether a list holds them."""
    for name, field in model.model_fields.items():
        parts = _submodels(model, name)
        if parts:
            yield (*above, name), get_origin(field.annotation) in (tuple, list)
        for part in parts:
            yield from _tables(part, (*above, name))
    if not above:
        yield (), False


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


def known_keys(model: type[BaseModel], path: Iterable[str | int]) -> list[str]:
    """Returns the keys that are allowed at a place of the schema."""
    models = [model]
    for part in path:
        if isinstance(part, str):
            models = [m for parent in models for m in _submodels(parent, part)]
    return sorted({name for m in models for name in m.model_fields})


def _submodels(model: type[BaseModel], name: str) -> list[type[BaseModel]]:
    field = model.model_fields.get(name)
    return list(_models_in(field.annotation)) if field else []


def _models_in(annotation: Any) -> Iterable[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)


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


def _list(known: list[str]) -> str:
    return f"Known keys: {', '.join(known)}." if known else ""
