"""Tasks as forms: what each can be told, with help, limits and defaults, from its options class."""

from __future__ import annotations

import re
import shlex
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from renma.config._task import Task
from renma.config.tasks import TASKS
from renma.core.errors import UserError, did_you_mean
from renma.studio.place import OutsideError, Place

NOT_HERE = ("demo", "studio")
"""Tasks that make no sense inside the studio."""
_READ = {"models"}


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
        raise UserError(f"there is no task '{name[:40]}'", remedy=did_you_mean(name, known))
    return known[name]


def placed(task: Task, given: Mapping[str, Any], place: Place) -> dict[str, Any]:
    """Returns the options with every path made whole and checked.

    Args:
        task: whose options they are.
        given: by field or alias.
        place: the workspace.

    Raises:
        OutsideError: a path leads out of the workspace.
        UserError: an option that the task does not have.
    """
    fields = {field.alias or name: field for name, field in task.options.model_fields.items()}
    for name in given:
        if name not in fields:
            raise UserError(
                f"'{task.name}' has no option '{name[:40]}'", remedy=did_you_mean(name, fields)
            )
    for name, value in given.items():
        if not is_place(fields[name]):
            _need_inside(value)
    return {
        name: _placed(value, place) if is_place(fields[name]) else value
        for name, value in given.items()
    }


def _need_inside(value: Any) -> None:
    """Checks texts that may hold paths, such as ``checkpoint=FILE`` or ``<lora:FILE:1>``.

    Those are seen from the workspace, where jobs work.

    Raises:
        OutsideError: a part of it leads out of the workspace.
    """
    if isinstance(value, list | tuple):
        for each in value:
            _need_inside(each)
    elif isinstance(value, str):
        for part in re.split(r"[=,:<>\s]", value):
            if part.startswith(("/", "~/")) or ".." in part.split("/") or "\0" in part:
                raise OutsideError("leads out of the workspace", where=repr(part[:80]))


def _placed(value: Any, place: Place) -> Any:
    if isinstance(value, list | tuple):
        return [_placed(each, place) for each in value]
    return str(place.inside(value)) if isinstance(value, str) and value != "mame" else value


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
