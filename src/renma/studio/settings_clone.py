"""The settings of a run that was trained, as somebody would have written them."""

from __future__ import annotations

import os
import posixpath
import re
from pathlib import Path
from typing import Any

from renma.config import Run, validate
from renma.config.data import DataConfig
from renma.core import text_file
from renma.core.errors import UserError
from renma.data import folder as folders
from renma.studio.place import Place
from renma.studio.settings_file import as_toml, parsed, plain
from renma.studio.settings_paths import each_path, to_web

_TAGS = {"adapter": "algo", "optimizer": "name", "schedule": "name"}
_REPEATS = re.compile(r"(\d+)_")


def project_of(run: Path, place: Place) -> Path:
    """Returns the project that a run belongs to: the folder above ``runs``, or its own."""
    found = run.parent.parent if run.parent.name == "runs" else run.parent
    return found if place.root in (found, *found.parents) else place.root


def asked_file(run: Path) -> Path:
    """Returns where the studio keeps what a run was asked for, beside its folder."""
    return run.parent / f"{run.name}.toml"


def cloned(run: Path, place: Place) -> str:
    """Returns the settings of a run as text, paths as a page shows them.

    Args:
        run: its folder.
        place: the workspace.

    Raises:
        UserError: its settings cannot be read.
    """
    project, asked = project_of(run, place), asked_file(run)
    if asked.is_file():
        place.own_files(asked.parent, (asked.name,))
        document = parsed(text_file.read(asked))
        inner = asked.parent.relative_to(project).as_posix()
        each_path(document, lambda _, text: _from_project(text, inner))
        to_web(document, project, place)
        return document.as_string()
    raw = plain(parsed(text_file.read(run / "run.toml")))
    each_path(raw, lambda _, text: os.path.normpath(run / text))
    values = changed_only(validate(Run, raw, "run.toml"), project)
    to_web(values, project, place)
    return as_toml(values)


def _from_project(text: str, inner: str) -> str:
    if posixpath.isabs(text) or text.startswith("@") or "\\" in text:
        return text
    return posixpath.normpath(posixpath.join(inner, text))


def changed_only(run: Run, project: Path) -> dict[str, Any]:
    """Returns what a run says besides the defaults; its folders by their parent, where that does.

    Args:
        run: complete.
        project: the folder that relative paths start from.
    """
    values = run.model_dump(mode="json", exclude_defaults=True, exclude_none=True)
    for section, tag in _TAGS.items():
        chosen = getattr(getattr(run, section), tag)
        values[section] = {tag: chosen, **values.get(section, {})}
    short = _by_parent(run.data, values.get("data", {}))
    try:
        same = short and folders.expand(validate(DataConfig, short, ""), project)
    except UserError:  # a folder is gone
        same = None
    if same and same == folders.expand(run.data, project):
        values["data"] = short
    return values


def _by_parent(data: DataConfig, values: dict[str, Any]) -> dict[str, Any]:
    """Returns ``[data]`` with the folders' parents in place of one data set, if it has them."""
    datasets = values.get("datasets", [])
    if len(data.datasets) != 1 or len(datasets) != 1:
        return {}
    short = {k: v for k, v in {**values, **datasets[0]}.items() if k not in ("datasets", "subsets")}
    for reg, name in ((False, "train_folder"), (True, "reg_folder")):
        found = [one for one in data.datasets[0].subsets if one.is_reg is reg]
        parents = {Path(one.image_dir).parent for one in found}
        if len(parents) > 1 or not all(_REPEATS.match(Path(s.image_dir).name) for s in found):
            return {}
        if parents:
            short[name] = str(parents.pop())
    # what every folder says alike stands once, above them
    own = [{k: v for k, v in s.items() if k not in _FOLDER_KEYS} for s in datasets[0]["subsets"]]
    return {**short, **own[0]} if own and all(each == own[0] for each in own) else {}


_FOLDER_KEYS = ("image_dir", "num_repeats", "class_tokens", "is_reg")
