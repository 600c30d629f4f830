"""What was asked, from wherever it stands: a command, a script, a config file, a GUI's preset."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from renma.compat import arguments, command_line, gui_preset
from renma.compat.draft import Given
from renma.config.load import find_line, read_toml
from renma.core.errors import UserError
from renma.core.place import is_there
from renma.core.text_file import decode

_DATASET_TABLES = frozenset({"general", "datasets"})
_LONGEST = 1_000_000


def read(text: str, here: Path) -> Given:
    """Returns what a file, or a command written out, asks for.

    Args:
        text: path of a .toml, .json, .sh, .bat, .cmd, .ps1 or .txt file, or a command.
        here: the folder that relative paths start from.

    Raises:
        UserError: it is none of them, or holds a mistake.
    """
    path = here / text if len(text) < 1024 and "\n" not in text else None
    if path is None or not is_there(path):
        if re.search(r"\s", text) or text.startswith("-"):
            return of_command(command_line.read(text), here)
        raise UserError("there is no such file", where=text, remedy="Or put a command in quotes.")
    if path.is_dir():
        raise UserError("is a folder, not a file", where=text)
    kind = path.suffix.lower()
    if kind == ".toml":
        return of_toml(path)
    if path.stat().st_size > _LONGEST:
        raise UserError("is too large for a command or a preset", where=text)
    try:
        content = decode(path.read_bytes(), path)[0]
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", where=text) from None
    if kind == ".json":
        return gui_preset.read(content, text)
    return of_command(command_line.read(content, command_line.flavour_of(kind), text), here, text)


def of_command(command: command_line.Command, here: Path, where: str = "") -> Given:
    """Returns what a command asks for; a --config_file lies under it."""
    return of_words(command.words, command.sdxl, here, where, command.launcher)


def of_words(
    words: Sequence[str],
    sdxl: bool,
    here: Path,
    where: str = "",
    launcher: Mapping[str, str] | None = None,
    strict: bool = False,
) -> Given:
    """Returns what the words after a script's name ask for.

    Args:
        words: options and values.
        sdxl: whether the script is the one for SDXL.
        here: the folder that a relative config file starts from.
        where: what to name in messages.
        launcher: options of the launcher before the script.
        strict: whether what sd-scripts cannot do without is missed.
    """
    values = arguments.read(words, sdxl, where)
    if "config_file" in values:
        name = str(values.pop("config_file"))
        path = here / (name if name.endswith(".toml") else f"{name}.toml")
        if not path.exists():
            remedy = f"Paths start at {here}."
            raise UserError("there is no such file", where=f"--config_file={name}", remedy=remedy)
        values = {**_config(path, sdxl), **values}
    return Given(values, sdxl, launcher or {}, strict=strict)


def of_toml(path: Path) -> Given:
    """Returns what a config file of sd-scripts asks for, or a data set file alone."""
    raw = read_toml(path)
    if raw.keys() <= _DATASET_TABLES and raw:
        return Given({"dataset_config": str(path)})
    names = arguments.flat(raw)
    sdxl = any(name.startswith("cache_text_encoder_outputs") for name in names)
    return Given(_config(path, sdxl), sdxl)


def _config(path: Path, sdxl: bool) -> dict[str, Any]:
    """Reads a --config_file; sections are headings only. Unknown keys are mistakes here."""
    values: dict[str, Any] = {}
    raw = read_toml(path)
    for name, value in arguments.flat(raw).items():
        try:
            option = arguments.find(name, sdxl)
            if option.name != name:
                raise UserError(f"sd-scripts has no option '{name}'", remedy=f"'{option.name}'?")
            values[name] = arguments.typed(option, value)
        except UserError as error:
            place = next(([key, name] for key, table in raw.items() if _in(table, name)), [name])
            line = find_line(path, place)
            what = error.what.replace("--", "")
            if error.where:
                what = f"'{name}' = {what}"
            where = f"{path}:{line}" if line else path
            raise UserError(what, where=where, remedy=error.remedy) from None
    values.pop("config_file", None)
    return values


def _in(table: Any, name: str) -> bool:
    return isinstance(table, dict) and name in table
