"""A project made from a recipe and what was filled in on its card."""

from __future__ import annotations

import re
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from renma.core.errors import UserError, did_you_mean
from renma.core.store import write_text
from renma.studio.methods import way
from renma.studio.methods_concepts import PROMPTS, concepts
from renma.studio.place import OutsideError, Place
from renma.studio.settings_file import merged, parsed
from renma.studio.settings_paths import PLACES, each_path
from renma.use import init, recipe_folder

Message = dict[str, str]
_TABLE = re.compile(r"\[([a-z]+)\]")
_HINT = re.compile(r"([a-z_]+) = [^#]+# ([\d.]+(?:e-?\d+)?)\b[^;,]* for a real model")
_OF_MAME = (
    "data.resolution",
    "data.min_bucket_reso", "data.max_bucket_reso", "data.bucket_reso_steps", "erase.steps",
)  # fmt: skip
"""Options that recipes set for their small model alone; another one has good defaults."""


def made(
    recipe: str, given: dict[str, Any], name: str, place: Place, check: Callable[..., Any]
) -> tuple[Path | None, list[Message]]:
    """Makes a project, unless something that was filled in is wrong.

    Args:
        recipe: to begin with.
        given: by dotted key; paths as seen from the workspace.
        name: of the new folder.
        place: the workspace.
        check: returns what is wrong with the text of a run.toml in a folder.

    Returns:
        The folder, None if something that was given is wrong, and what is wrong where.

    Raises:
        UserError: what cannot be the name of a folder, or an option that the card does not have.
    """
    folder = _folder(name, place)
    if folder.exists():
        text = UserError("is taken", where=f"'{name}'", remedy="Choose another name.").line()
        return None, [{"level": "error", "key": "name", "text": text}]
    keys = way(recipe).keys
    for key in given:
        if key not in keys:
            raise UserError(
                f"'{recipe}' does not ask for '{key[:60]}'", remedy=did_you_mean(key, keys)
            )
    found = recipe_folder.read(recipe)
    placed, told = _placed(given, place)
    if told:
        return None, told
    try:
        text = init.headed(
            recipe,
            merged(found.text, filled(tomllib.loads(found.text), placed, real_hints(found.text))),
        )
    except UserError as error:
        row = {"level": "error", "key": str(error.where or ""), "text": error.line()}
        return None, [row]
    # made beside its place and then moved there, so that paths mean the same all the time
    making = folder.with_name(f".{name}.making")
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir()
    try:
        recipe_folder.copy(_needed(text, found.files), making)
        told = [_at_field(m, placed) for m in check(place.shown(making), text)]
        if any(m["level"] == "error" and m["key"] in keys for m in told):
            return None, told
        write_text(making / "run.toml", text)
        making.rename(folder)
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return folder, told


def filled(
    values: dict[str, Any], given: dict[str, Any], hints: dict[str, float]
) -> dict[str, Any]:
    """Returns the settings of a recipe with what was given, without what then means nothing.

    Args:
        values: of the recipe.
        given: by dotted key.
        hints: what the recipe says of other models.

    Raises:
        UserError: concepts that do not fit; ``where`` is the key.
    """
    given = {**_follows(values, given), **given}
    if given.get("model.path", "mame") != "mame":
        given = {**dict.fromkeys(_OF_MAME), **hints, **given}
    for key, value in given.items():
        if not key.startswith(PROMPTS + "."):
            _put(values, key, value)
    if any(key.startswith(PROMPTS + ".") for key in given):
        values["erase"]["prompts"] = concepts(values, given)
    if any(key.startswith("erase.prompts") for key in given):
        _put(values, "sample.prompts", None)  # the targets are drawn
    if "data.train_folder" in given:
        _with_own_pictures(values, given)
    return values


def real_hints(text: str) -> dict[str, float]:
    """Returns the numbers that a recipe gives "for a real model" in comments, the least of each."""
    found: dict[str, float] = {}
    table = ""
    for line in text.splitlines():
        if head := _TABLE.match(line):
            table = head[1]
        elif said := _HINT.match(line):
            number = float(said[2])
            found[f"{table}.{said[1]}"] = int(number) if said[2].isdigit() else number
    return found


def _follows(values: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Returns options that are the same as another one in the recipe, and stay so."""
    pairs = (("adapter.rank", "adapter.alpha"), ("relora.every_steps", "schedule.cycle_steps"))
    found = {}
    for key, other in pairs:
        (table, name), (there, second) = key.split("."), other.split(".")
        same = values.get(table, {}).get(name) == values.get(there, {}).get(second) is not None
        if same and isinstance(given.get(key), int):
            found[other] = given[key]
    return found


def _with_own_pictures(values: dict[str, Any], given: dict[str, Any]) -> None:
    """Takes out what a recipe says about its own pictures."""
    trigger = given.get("output.trigger")
    _put(values, "data.reg_folder", None)
    values.pop("judge", None)
    if trigger and "sample" in values:
        values["sample"]["prompts"] = [trigger]
    else:
        values.pop("sample", None)
    if "trigger" in values.get("output", {}):
        name = given.get("output.name", trigger)
        values["output"] = {"name": name, "trigger": trigger}


def _put(values: dict[str, Any], key: str, value: Any) -> None:
    section, _, name = key.partition(".")
    if value is not None or section in values:
        values.setdefault(section, {})[name] = value


def _placed(given: dict[str, Any], place: Place) -> tuple[dict[str, Any], list[Message]]:
    """Returns what was given with paths as seen from a folder of the workspace."""
    told: list[Message] = []
    seen: dict[str, Any] = {}
    for key, value in given.items():
        seen[key] = value
        if tuple(key.split(".")[-2:]) in PLACES and isinstance(value, str | list):
            listed = key == "start.base_weights"
            lines = value.splitlines() if isinstance(value, str) and listed else value
            try:
                many = [_from_folder(str(one).strip(), place) for one in lines] if listed else None
                seen[key] = many if listed else _from_folder(str(value), place)
            except OutsideError as error:
                told.append({"level": "error", "key": key, "text": error.line()})
    return seen, told


def _from_folder(text: str, place: Place) -> str:
    if text in ("", "mame"):
        return text
    place.inside(text)
    return text if text.startswith("@") else f"../{text}"


def _at_field(message: Message, placed: dict[str, Any]) -> Message:
    """Returns a message; one that only names a path stands at the field of that path."""
    key = message["key"] or next(
        (
            key
            for key, value in placed.items()
            if tuple(key.split(".")[-2:]) in PLACES
            for each in (value if isinstance(value, list) else [value])
            if str(each).startswith(("../", "@")) and Path(each).name in message["text"]
        ),
        "",
    )
    return {**message, "key": key}


def _needed(text: str, files: dict[str, Path]) -> dict[str, Path]:
    """Returns those files of a recipe that its run.toml still names."""
    named: list[str] = []

    def note(_: str, path: str) -> str:
        named.append(path)
        return path

    each_path(parsed(text), note)
    return {inner: source for inner, source in files.items() if inner in named}


def _folder(name: str, place: Place) -> Path:
    if "/" in name:
        raise UserError("a name has no slashes", where=repr(name))
    folder = place.inside(name, write=True)
    if name.startswith((".", "@")) or folder == place.root:
        raise UserError("is no name for a project", where=repr(name), remedy="Choose another.")
    return folder


def tried(recipe: str, place: Place) -> Path:
    """Makes a project of a recipe as it is, under a name that is free, and returns it."""
    way(recipe)
    numbers = (recipe if n == 1 else f"{recipe}-{n}" for n in range(1, 10_000))
    folder = next(path for path in map(place.root.joinpath, numbers) if not path.exists())
    text = init.from_recipe(recipe, folder)
    write_text(folder / "run.toml", text)
    return folder
