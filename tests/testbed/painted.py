"""A painter without a model: plain colours by recipe, in files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from renma.config.picture_recipe import Recipe


class Plain:
    """Paints every recipe in one colour, chosen by a function; remembers what it was asked.

    Args:
        folder: for the pictures.
        colour: of a recipe.
    """

    def __init__(self, folder: Path, colour: Callable[[Recipe], Any] = lambda _: "grey") -> None:
        self.folder, self.colour = folder, colour
        self.asked: list[Recipe] = []

    def paint(self, recipes: Sequence[Recipe]) -> list[Path]:
        """Returns a picture of the recipe's size for each."""
        self.asked += recipes
        self.folder.mkdir(parents=True, exist_ok=True)
        paths = [self.folder / f"{one.digest()}.png" for one in recipes]
        for path, one in zip(paths, recipes, strict=True):
            size = (one.prompt.width or 64, one.prompt.height or 64)
            Image.new("RGB", size, self.colour(one)).save(path)
        return paths
