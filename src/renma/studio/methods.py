"""Methods beyond plain training as cards: their recipes, and what of them is asked for first."""

from __future__ import annotations

import tempfile
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from renma.core.errors import MissingError, did_you_mean
from renma.studio import settings_schema
from renma.studio.methods_concepts import PROMPTS, lines_of
from renma.studio.settings_file import parsed
from renma.studio.settings_plan import checked
from renma.train.plan import FIXED_SECONDS
from renma.use import init, recipe_folder

_LENGTH = ("train.max_steps", "optimizer.learning_rate")
_OWN = ("model.path", "data.train_folder", "data.resolution", "output.trigger")
_CONCEPT = tuple(f"{PROMPTS}.{key}" for key in ("target", "neutral", "positive", "guidance_scale"))
_ADAPTERS = ("mora", "loha", "lokr", "ia3", "glora", "oft", "lora_fa", "full")


@dataclass(frozen=True)
class Way:
    """One recipe of a method.

    Attributes:
        recipe: its name.
        keys: options of run.toml that are asked for, dotted.
    """

    recipe: str
    keys: tuple[str, ...]


@dataclass(frozen=True)
class Method:
    """A card.

    Attributes:
        name: its words begin with ``methods.NAME``.
        ways: recipes to choose from.
        picture: file in ``static/`` that shows what comes out, if there is one.
    """

    name: str
    ways: tuple[Way, ...]
    picture: str = ""


METHODS = (
    Method(
        "erase",
        (
            Way("leco", (*_CONCEPT, *_LENGTH, "model.path")),
            Way("leco-enhance", (*_CONCEPT[:2], _CONCEPT[3], *_LENGTH, "model.path")),
            Way("leco-file", ("erase.prompts_file", "adapter.rank", *_LENGTH, "model.path")),
        ),
        "methods-erase.jpg",
    ),
    Method(
        "copier",
        (
            Way(
                "copier",
                (
                    "copier.train_folder", "data.train_folder", "data.resolution", "copier.steps",
                    *_LENGTH, "adapter.rank", "model.path", "output.name",
                ),
            ),
        ),
        "methods-copier.png",
    ),
    Method(
        "difference",
        (Way("difference", ("start.base_weights", "adapter.rank", *_LENGTH, *_OWN)),),
    ),
    Method("quality", (Way("quality-up", ("start.weights", *_LENGTH, *_OWN)),)),
    Method(
        "relora",
        tuple(
            Way(name, ("relora.every_steps", "adapter.rank", *_LENGTH, "relora.merged", *_OWN))
            for name in ("relora", "relora-nf4")
        ),
    ),
    Method(
        "qlora",
        tuple(
            Way(
                name,
                ("model.quantize", "adapter.rank", "data.batch_size", *_LENGTH,
                 "train.gradient_checkpointing", *_OWN),
            )
            for name in ("qlora", "qlora-8bit")
        ),
    ),
    Method(
        "dylora",
        (
            Way(
                "dylora",
                ("adapter.rank", "adapter.unit", "data.validation_split", *_LENGTH, *_OWN),
            ),
        ),
    ),
)  # fmt: skip


def way(recipe: str) -> Way:
    """Returns what is asked for with a recipe.

    Raises:
        MissingError: no card has one of that name.
    """
    known = {each.recipe: each for method in METHODS for each in method.ways}
    if recipe not in known:
        raise MissingError(
            f"there is no recipe '{recipe[:40]}'", remedy=did_you_mean(recipe, known)
        )
    return known[recipe]


@cache
def cards() -> list[dict[str, Any]]:
    """Returns all cards; every number is the recipe's own."""
    return [
        {"name": m.name, "picture": m.picture, "ways": [_shown(each) for each in m.ways]}
        for m in METHODS
    ]


def _shown(each: Way) -> dict[str, Any]:
    text = recipe_folder.read(each.recipe).text
    document, values = parsed(text), tomllib.loads(text)
    fields = []
    for key in each.keys:
        option = _option(key, values)
        value = _at(values, key)
        if key.startswith(f"{PROMPTS}."):
            value, option["kind"] = lines_of(values, key), _kind(key, option)
        elif option["kind"] == "place" and isinstance(value, list):
            value = "\n".join(value)
        fields.append({"key": key, "option": option, "value": value, "hint": _hint(document, key)})
    return {
        "recipe": each.recipe,
        "task": "erase" if "erase" in values else "train",
        "about": "\n".join(_about(text)).strip(),
        "fields": fields,
    }


def _kind(key: str, option: dict[str, Any]) -> str:
    return "lines" if key in _CONCEPT[:2] else option["kind"]


def _option(key: str, values: dict[str, Any]) -> dict[str, Any]:
    """Returns an option as the schema has it, of the algorithm that the recipe takes."""
    table, _, name = key.rpartition(".")
    section = next(s for s in settings_schema.manual() if s["section"] == key.partition(".")[0])
    chosen = values.get(section["section"], {}).get(section["tag"], section["default"])
    found = (
        option
        for each in section["tables"]
        if each["table"] == table and each["choice"] in ("", chosen)
        for option in each["options"]
        if option["key"] == name
    )
    return dict(next(found))


def _at(values: Any, key: str) -> Any:
    for name in key.split("."):
        values = values.get(name) if isinstance(values, dict) else None
    return values


def _hint(document: Any, key: str) -> str:
    """Returns what a recipe says beside an option, such as what suits a real model."""
    table, _, name = key.partition(".")
    held = document.get(table, {})
    if "." in name or name not in held:
        return ""
    return held.item(name).trivia.comment.lstrip("# ").strip()


def _about(text: str) -> Iterator[str]:
    """Yields the lines of a recipe's head, without those that are commands."""
    for line in text.splitlines():
        if not line.startswith("#"):
            return
        said = line.removeprefix("#").removeprefix(" ")
        if not said.lstrip().startswith("renma "):
            yield said.rstrip()


def adapters() -> list[dict[str, Any]]:
    """Returns other adapters than LoRA, a line each, with what chooses them in run.toml."""
    section = next(s for s in settings_schema.manual() if s["section"] == "adapter")
    tables = {table["choice"]: table for table in section["tables"] if table["choice"]}
    dora = next(option for option in tables["lora"]["options"] if option["key"] == "dora")
    rows = [{"name": "dora", "help": dora["help"], "set": {"adapter.dora": "output"}}]
    return rows + [
        {"name": name, "help": tables[name]["intro"], "set": {"adapter.algo": name}}
        for name in _ADAPTERS
    ]


def planned(recipe: str, where: Path) -> dict[str, Any]:
    """Returns length, time and memory of a recipe as it is, on this machine.

    Args:
        recipe: its name.
        where: a folder for what the plan looks at; nothing stays.
    """
    with tempfile.TemporaryDirectory(dir=where, prefix="plan-") as made:
        folder = Path(made)
        values = tomllib.loads(init.from_recipe(recipe, folder))
        plan = checked(values, folder).plan
        assert plan is not None, f"the recipe {recipe} has no plan"
    found = {name: plan[name] for name in ("steps", "seconds", "seconds_known", "memory_mib")}
    if first := values.get("copier", {}).get("steps", 0):  # the plan is about the second stage
        found["seconds"] += round(first * (found["seconds"] - FIXED_SECONDS) / found["steps"])
        found["steps"] += first
    return found
