"""Paths in the settings of a run: where they stand, and that none leads out of the workspace.

On disk a run.toml holds paths that the trainer understands; a page names folders of models as
``@NAME/...``. Both directions are here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import Any

from renma.core.errors import UserError
from renma.studio.place import OutsideError, Place

PLACES = {
    ("model", "path"), ("model", "vae"), ("data", "train_folder"), ("data", "reg_folder"),
    ("start", "weights"), ("start", "base_weights"), ("sample", "prompts_file"),
    ("copier", "train_folder"), ("erase", "prompts_file"), ("targets", "preset_file"),
    ("subsets", "image_dir"), ("subsets", "metadata_file"), ("subsets", "mask_dir"),
}  # fmt: skip
"""Options that hold paths, by the table they stand in."""
_NO_PATHS = ("", "mame")


def real_path(text: str, project: Path, place: Place) -> Path:
    """Returns where a path in the settings of a project really leads.

    Args:
        text: seen from the project, absolute, or ``@NAME/...``.
        project: its folder.
        place: the workspace.

    Raises:
        OutsideError: out of the workspace and the folders of models.
    """
    if text.startswith("@"):
        return place.inside(text)
    if any(ord(sign) < 32 for sign in text) or text.startswith("~"):
        raise OutsideError("is no path inside the workspace", where=repr(text[:80]))
    real = Path(os.path.realpath(project / text))
    try:
        place.inside(place.shown(real))
    except OutsideError:
        raise OutsideError("leads out of the workspace", where=repr(text[:80])) from None
    return project / text


def outside(values: Any, project: Path, place: Place) -> list[tuple[str, UserError]]:
    """Returns every option whose path leads out of the workspace, with what is wrong."""
    found: list[tuple[str, UserError]] = []

    def look(key: str, text: str) -> str:
        try:
            real_path(text, project, place)
        except OutsideError as error:
            found.append((key, error))
        return text

    each_path(values, look)
    return found


def need_inside(values: dict[str, Any], project: Path, place: Place) -> None:
    """Checks every path in the settings of a run.

    Args:
        values: of run.toml.
        project: the folder that relative paths start from.
        place: the workspace.

    Raises:
        OutsideError: one leads out of the workspace and the folders of models.
    """
    for _, error in outside(values, project, place):
        raise error


def to_disk(values: Any, place: Place) -> None:
    """Writes ``@NAME/...`` out as the folder that it is."""
    each_path(values, lambda _, text: str(place.inside(text)) if text.startswith("@") else text)


def moved_to(values: Any, inner: str) -> None:
    """Makes relative paths mean the same for a file that lies in a folder below, ``runs``."""
    up = "../" * len(Path(inner).parts)
    each_path(values, lambda _, text: text if Path(text).is_absolute() else up + text)


def to_web(values: Any, project: Path, place: Place) -> None:
    """Writes whole paths as a page shows them: seen from the project, or ``@NAME/...``."""
    base = os.path.realpath(project)

    def shorten(_: str, text: str) -> str:
        path = Path(text)
        if not path.is_absolute():
            return text
        try:
            shown = place.shown(path)
        except OutsideError:
            return text  # the plan says that it leads out
        return shown if shown.startswith("@") else Path(os.path.relpath(path, base)).as_posix()

    each_path(values, shorten)


def each_path(values: Any, change: Callable[[str, str], str], table: str = "") -> None:
    """Replaces every path, in place.

    Args:
        values: of run.toml, as dict or TOML document.
        change: returns the new path; is given the dotted key and the old one.
        table: the dotted name of ``values``.
    """
    if isinstance(values, list):
        for each in values:
            each_path(each, change, table)
        return
    if not isinstance(values, MutableMapping):
        return
    last = table.rpartition(".")[2]
    for name, inner in list(values.items()):
        key = f"{table}.{name}".lstrip(".")
        if (last, name) not in PLACES:
            each_path(inner, change, key)
        elif isinstance(inner, list):
            new = [_changed(each, key, change) for each in inner]
            if new != list(inner):
                values[name] = new
        elif (one := _changed(inner, key, change)) != inner:
            values[name] = one


def _changed(value: Any, key: str, change: Callable[[str, str], str]) -> Any:
    if not isinstance(value, str) or value in _NO_PATHS:
        return value
    return change(key, str(value))
