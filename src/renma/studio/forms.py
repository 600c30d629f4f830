"""Tasks as forms: what each can be told, with help, limits and defaults, from its options class."""

from __future__ import annotations

import shlex
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from renma.config._task import Task
from renma.config.tasks import TASKS
from renma.core.errors import MissingError, did_you_mean

NOT_HERE = ("demo", "studio")
"""Tasks that make no sense inside the studio."""


def tasks() -> list[Task]:
    """Returns the tasks that the studio can do."""
    return [task for task in TASKS if task.name not in NOT_HERE]


def options_of(name: str) -> Task:
    """Returns the task of a name.

    Raises:
        UserError: there is none.
    """
    known = {task.name: task for task in tasks()}
    if name not in known:
        raise MissingError(f"there is no task '{name[:40]}'", remedy=did_you_mean(name, known))
    return known[name]


def is_place(field: FieldInfo) -> bool:
    """Says whether an option holds a path or several."""
    return Path in _types(field.annotation)


def form(task: Task) -> dict[str, Any]:
    """Returns a task as a page draws it."""
    fields = sorted(task.options.model_fields.items(), key=lambda item: _late(*item))
    rows = [_row(field.alias or name, field) for name, field in fields]
    return {
        "name": task.name,
        "summary": task.summary,
        "example": task.example,
        "fields": rows,
        "schema": task.options.model_json_schema(by_alias=True),
    }


def _late(name: str, field: FieldInfo) -> int:
    """Returns where an option stands: what is worked on, where it goes, how, by whom."""
    if _extra(field).get("positional"):
        return 0
    if field.is_required():
        return 1
    return 3 if name in ("executor", "workers") else 2


def _row(name: str, field: FieldInfo) -> dict[str, Any]:
    found = _types(field.annotation)
    choices = [str(c) for each in found if get_origin(each) is Literal for c in get_args(each)]
    many = any(get_origin(each) in (tuple, list) for each in _outer(field.annotation))
    default = None if field.is_required() else field.get_default(call_default_factory=True)
    return {
        "name": name,
        "kind": _kind(found, choices),
        "many": many,
        "required": field.is_required(),
        "default": _plain(default),
        "choices": choices,
        "help": " ".join((field.description or "").split()),
        "level": _extra(field).get("level", "basic"),
    }


def _kind(found: set[Any], choices: list[str]) -> str:
    if Path in found:
        return "path"
    if choices:
        return "choice"
    for kind, name in ((bool, "switch"), (int, "whole"), (float, "number")):
        if kind in found and str not in found:
            return name
    return "text"


def _extra(field: FieldInfo) -> dict[str, Any]:
    return field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _outer(annotation: Any) -> list[Any]:
    """Returns the members of a union, or the annotation itself."""
    if get_origin(annotation) in (Union, types.UnionType):
        return list(get_args(annotation))
    return [annotation]


def _types(annotation: Any) -> set[Any]:
    """Returns all plain types and literals inside an annotation."""
    origin = get_origin(annotation)
    if origin is Literal:
        return {annotation}
    if origin is None:
        return {annotation}
    if origin is Annotated:
        return _types(get_args(annotation)[0])
    return {found for each in get_args(annotation) for found in _types(each)} - {Ellipsis}


def command_line(task: str, options: Mapping[str, Any]) -> str:
    """Returns the command that does the same."""
    fields = {f.alias or n: f for n, f in options_of(task).options.model_fields.items()}
    words = ["renma", *task.split()]
    for name, value in options.items():
        field = fields.get(name)
        if field is not None and _extra(field).get("positional"):
            words += [str(each) for each in (value if isinstance(value, list) else [value])]
    for name, value in options.items():
        field = fields.get(name)
        if field is None or _extra(field).get("positional") or value is None:
            continue
        option = f"--{name.replace('_', '-')}"
        if isinstance(value, bool):
            words += [option] if value else []
        else:
            words += [
                w
                for each in (value if isinstance(value, list) else [value])
                for w in (option, str(each))
            ]
    return shlex.join(words)
