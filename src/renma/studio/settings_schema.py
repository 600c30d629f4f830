"""Every option of run.toml as a page draws it: kind, choices, limits, default, help, kohya's name.

Sections whose options belong to one algorithm (``adapter``, ``optimizer``, ``schedule``) have a
table for each; the page shows the one that is chosen.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import PurePath
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from renma.config.run import Run
from renma.studio.settings_paths import PLACES

_LIMITS = ("ge", "gt", "le", "lt", "multiple_of")


@cache
def manual() -> list[dict[str, Any]]:
    """Returns every section: name, help, the key that chooses its algorithm, and its tables."""
    found = []
    for name, field in Run.model_fields.items():
        models = list(_models(field.annotation))
        if not models:
            continue
        tables = [table for model in models for table in _tables(name, model)]
        # all choices of a section have the same tables inside: they are told once
        unique = {(t["table"], t["choice"]): t for t in reversed(tables)}
        tag = next((t for t in map(_tag, models) if t), "")
        found.append(
            {
                "section": name,
                "help": _plain_text(field.description),
                "tag": tag,
                "default": getattr(_default(field), tag, "") if tag else "",
                "tables": [*reversed(unique.values())],
            }
        )
    return found


def keys() -> set[str]:
    """Returns the dotted names of all options; those of lists without the number."""
    return {
        f"{table['table']}.{option['key']}"
        for section in manual()
        for table in section["tables"]
        for option in table["options"]
    } | {f"{s['section']}.{s['tag']}" for s in manual() if s["tag"]}


def _tables(name: str, model: type[BaseModel], listed: bool = False) -> Iterator[dict[str, Any]]:
    """Yields the table of a model and those inside it."""
    tag = _tag(model)
    inside: list[tuple[str, type[BaseModel], bool]] = []
    options = []
    for key, field in model.model_fields.items():
        inner = list(_models(field.annotation))
        if inner:
            many = not isinstance(field.annotation, type)
            inside += [(f"{name}.{key}", each, many) for each in inner]
        elif key != tag:
            options.append(_option(name, key, field))
    yield {
        "table": name,
        "choice": str(model.model_fields[tag].default) if tag else "",
        "intro": _plain_text(model.__doc__),
        "listed": listed,
        "options": options,
    }
    for inner_name, each, many in inside:
        yield from _tables(inner_name, each, many)


def _option(table: str, key: str, field: FieldInfo) -> dict[str, Any]:
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    kind, choices = _kind(field.annotation)
    is_place = (table.rpartition(".")[2], key) in PLACES
    row: dict[str, Any] = {
        "key": key,
        # a list of paths is written line by line
        "kind": "place" if is_place and kind != "lines" else kind,
        "choices": choices,
        "many": kind in ("lines", "value"),
        "default": None if field.is_required() else _plain(_default(field)),
        "required": field.is_required(),
        "level": extra.get("level", "basic"),
        "kohya": extra.get("kohya", ""),
        "help": _plain_text(field.description),
    }
    for rule in field.metadata:
        row |= {n: v for n in _LIMITS if (v := getattr(rule, n, None)) is not None}
    return row


def _kind(annotation: Any) -> tuple[str, list[Any]]:
    """Returns how an option is filled in: what is no plain value is written as JSON."""
    found = [each for each in _members(annotation) if each is not NoneType]
    choices = [c for each in found if get_origin(each) is Literal for c in get_args(each)]
    if choices and all(get_origin(each) is Literal for each in found):
        return "choice", choices
    if len(found) == 1 and get_origin(found[0]) is tuple:
        inner = get_args(found[0])
        return ("lines" if inner == (str, Ellipsis) else "value"), []
    if set(found) == {bool}:
        return "switch", []
    if set(found) == {int}:
        return "whole", []
    if set(found) <= {int, float}:
        return "number", []
    if all(isinstance(each, type) and issubclass(each, str | PurePath) for each in found):
        return "text", []
    return "value", []


def _members(annotation: Any) -> list[Any]:
    origin = get_origin(annotation)
    if origin is Annotated:
        return _members(get_args(annotation)[0])
    if origin in (Union, UnionType):
        return [each for argument in get_args(annotation) for each in _members(argument)]
    return [annotation]


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)


def _tag(model: type[BaseModel]) -> str:
    """Returns the key that names an algorithm, if the model is one of several."""
    for name, field in model.model_fields.items():
        if get_origin(field.annotation) is Literal and len(get_args(field.annotation)) == 1:
            return name
    return ""


def _default(field: FieldInfo) -> Any:
    return field.get_default(call_default_factory=True)


def _plain(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {str(name): _plain(each) for name, each in value.items()}
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _plain_text(text: str | None) -> str:
    return " ".join((text or "").split())
