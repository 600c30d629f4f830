"""The recipes that come with renma, each as a folder of its own: run.toml and what it names.

In the repository they lie in ``recipes/`` and take pictures from the source tree; in the wheel both
are part of :mod:`renma.assets`. A folder made from one needs neither.
"""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from renma import assets
from renma.core.errors import UserError, did_you_mean

_SAMPLES = "../src/renma/assets/samples/"
"""How a recipe names the picture sets inside renma."""
_PLACES = (
    ("data", "train_folder"), ("data", "reg_folder"), ("copier", "train_folder"),
    ("start", "weights"), ("start", "base_weights"), ("erase", "prompts_file"),
)  # fmt: skip
"""Options of recipes that name files or folders."""


@dataclass(frozen=True)
class RecipeFolder:
    """What a folder made from a recipe holds.

    Attributes:
        text: of its run.toml, comments and all.
        files: what is copied there, by the name that ``text`` has for it.
    """

    text: str
    files: dict[str, Path]


def names() -> list[str]:
    """Returns the names of all recipes."""
    return sorted(path.stem for path in assets.RECIPES.glob("*.toml"))


def read(name: str) -> RecipeFolder:
    """Returns a recipe as it stands in a folder of its own.

    Raises:
        UserError: there is none of that name, or a file that it names is missing.
    """
    if name not in names():
        raise UserError(f"there is no recipe '{name[:40]}'", remedy=did_you_mean(name, names()))
    text = (assets.RECIPES / f"{name}.toml").read_text(encoding="utf-8")
    files: dict[str, Path] = {}
    for given in _places(tomllib.loads(text)):
        source, inner = assets.RECIPES / given, given
        if given.startswith(_SAMPLES):
            rest = given.removeprefix(_SAMPLES)
            source, inner = assets.SAMPLES / rest, Path(rest).name
            text = text.replace(f'"{given}"', f'"{inner}"')
        if not source.exists():
            raise UserError("is missing", where=source, remedy="Install renma again.")
        files[inner] = source
        text = text.replace(f"recipes/{inner}", inner)
    return RecipeFolder(text.replace(f"recipes/{name}.toml", "run.toml"), files)


def copy(files: dict[str, Path], folder: Path) -> None:
    """Copies what a recipe names into a folder.

    Args:
        files: or folders, by their names there.
        folder: to copy to.
    """
    for inner, source in files.items():
        found = sorted(source.rglob("*")) if source.is_dir() else [source]
        for file in (path for path in found if path.is_file()):
            target = folder / inner / file.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            # contents only: an installed package may be read-only, the user's folder must not be
            shutil.copyfile(file, target)


def _places(values: dict[str, Any]) -> Iterator[str]:
    for section, key in _PLACES:
        found = values.get(section, {}).get(key, [])
        yield from (found if isinstance(found, list) else [found])
