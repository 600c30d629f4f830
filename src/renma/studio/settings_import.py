"""Settings of kohya-ss/sd-scripts, pasted into a page: what becomes of every option here."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from renma.compat import arguments, command_line, gui_preset, source
from renma.compat.draft import Draft, Given, Places
from renma.compat.report import fate
from renma.compat.translate import refused, translate
from renma.core.errors import UserError
from renma.studio.place import Place
from renma.studio.settings_paths import real_path

_FILES = ("config_file", "dataset_config")
"""Options that name a file which is read now, not when training begins."""


def imported(text: str, project: Path, place: Place) -> dict[str, Any]:
    """Returns settings, what became of every option, and what cannot be had here.

    Args:
        text: a command, a config file or data set file (TOML), or a preset of the GUI (JSON).
        project: the folder that relative paths start from.
        place: the workspace; no file outside of it is read.

    Raises:
        UserError: it is none of them, or holds a mistake.
    """
    with tempfile.TemporaryDirectory(dir=place.own, prefix="import-") as folder:
        pasted = Path(folder) / "pasted.toml"
        try:
            given = _given(text, pasted, project, place)
            if given.values.get("dataset_config") != str(pasted):
                _need_inside(given.values, project, place)
            draft = translate(given, Places(project, project))
        except UserError as error:
            where = str(error.where or "").replace(str(pasted), "line").replace("line:", "line ")
            what = error.what.replace(str(pasted), "what was pasted")
            raise UserError(what, where=where or None, remedy=error.remedy) from None
    return _told(draft, pasted)


def _given(text: str, pasted: Path, project: Path, place: Place) -> Given:
    start = text.lstrip("\ufeff \t\r\n")
    if start.startswith("{"):
        return gui_preset.read(text, "the preset")
    if _is_command(start):
        command = command_line.read(text)
        _need_inside(arguments.read(command.words, command.sdxl, ""), project, place)
        return source.of_command(command, project)
    pasted.write_text(text, encoding="utf-8")
    return source.of_toml(pasted)


def _is_command(text: str) -> bool:
    """Says whether a text is a command: TOML has no word that begins with two dashes."""
    return any(word.startswith("--") for line in text.splitlines() for word in line.split()[:40])


def _need_inside(values: Mapping[str, Any], project: Path, place: Place) -> None:
    for name in _FILES:
        if values.get(name):
            try:
                real_path(str(values[name]), project, place)
            except UserError as error:
                raise UserError(
                    error.what, where=f"--{name}", remedy="Paste what stands in it instead."
                ) from None


def _told(draft: Draft, pasted: Path) -> dict[str, Any]:
    rows = [*draft.rows.values(), *draft.given.notes]
    if draft.given.values.get("dataset_config") == str(pasted):
        rows = [row for row in rows if row.option != "dataset_config"]
    return {
        "values": _without_none(draft.raw),
        "rows": [{**asdict(row), "fate": fate(row)} for row in rows],
        "warnings": draft.warnings,
        "refused": refused(draft),
    }


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_none(v) for name, v in value.items() if v is not None}
    return [_without_none(each) for each in value] if isinstance(value, list | tuple) else value
