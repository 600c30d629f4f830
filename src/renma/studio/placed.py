"""Options of a task from the web: every path in them is checked, and made whole."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from renma.config._task import Task
from renma.core import text_file
from renma.core.errors import UserError, did_you_mean
from renma.studio.forms import is_place
from renma.studio.place import OutsideError, Place
from renma.studio.settings_file import parsed, plain
from renma.studio.settings_paths import need_inside

READ = frozenset(
    {
        "again", "base", "boxes", "dataset_config", "file", "folders", "implications", "lora",
        "lora_dir", "masks", "model", "originals", "prompts", "regions", "sources", "tuned",
    }
)  # fmt: skip
"""Options whose files are only read, so that they may lie in a folder of models. Into all others a
task may write."""
_ITSELF = {"file", "lora", "sources"}
"""Of those, what a task writes into, or beside, where no ``out`` is given and one could be; into
the folder of a run in any case, where its cells are kept."""
_AROUND = re.compile(r"[=,:<>\s\"'`\[\](){}|;]+")
"""What stands around a path in a text."""
_LONGEST = 200


def placed(task: Task, given: Mapping[str, Any], place: Place) -> dict[str, Any]:
    """Returns the options with every path made whole and checked.

    Args:
        task: whose options they are.
        given: by field or alias.
        place: the workspace.

    Raises:
        OutsideError: a path leads out of the workspace.
        UserError: an option that the task does not have, or settings that are no TOML.
    """
    fields = {field.alias or name: field for name, field in task.options.model_fields.items()}
    found: dict[str, Any] = {}
    for name, value in given.items():
        if name not in fields:
            raise UserError(
                f"'{task.name}' has no option '{name[:40]}'", remedy=did_you_mean(name, fields)
            )
        if is_place(fields[name]):
            found[name] = _placed(value, place, name, _written(task, name, given))
        else:
            _need_inside(value, place)
            found[name] = value
    _need_settings_inside(task, found, place)
    return found


def _written(task: Task, name: str, given: Mapping[str, Any]) -> bool:
    """Says whether a task may write where an option points."""
    out = task.options.model_fields.get("out")
    itself = name in _ITSELF and out is not None and not given.get("out")
    return name not in READ or itself


def _placed(value: Any, place: Place, name: str, write: bool) -> Any:
    if isinstance(value, list | tuple):
        return [_placed(each, place, name, write) for each in value]
    if not isinstance(value, str) or value == "mame":
        return value
    path = place.inside(value, write=write)
    if name in _ITSELF and path.is_dir():
        place.inside(value, write=True)
    return str(path)


def _need_inside(value: Any, place: Place) -> None:
    """Checks texts that may hold paths, such as ``checkpoint=FILE`` or ``<lora:FILE:1>``.

    Those are seen from the workspace, where jobs work.

    Raises:
        OutsideError: a part of it leads out of the workspace.
    """
    if isinstance(value, list | tuple):
        for each in value:
            _need_inside(each, place)
    elif isinstance(value, str):
        for part in _AROUND.split(value):
            odd = part.startswith(("/", "~/")) or ".." in part.split("/") or "\0" in part
            if odd or _linked_out(place.root / part[:_LONGEST], place):
                raise OutsideError("leads out of the workspace", where=repr(part[:80]))


def _linked_out(path: Path, place: Place) -> bool:
    try:
        if path.exists():
            place.inside(place.shown(path))
    except OSError:  # no name that a file can have
        return False
    except OutsideError:
        return True
    return False


def _need_settings_inside(task: Task, options: Mapping[str, Any], place: Place) -> None:
    """Checks the paths in the settings that a task would read.

    Raises:
        OutsideError: one leads out of the workspace and the folders of models.
        UserError: a file is no TOML.
    """
    for name in ("run", "dataset_config"):
        given = options.get(name)
        if name not in task.options.model_fields or not isinstance(given, str):
            continue
        path = Path(given)
        path = path / "run.toml" if path.is_dir() else path
        if path.is_file():
            place.own_files(path.parent, (path.name,))
            need_inside(plain(parsed(text_file.read(path))), path.parent, place)
