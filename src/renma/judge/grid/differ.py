"""How cells differ from the cells they are compared with: one number, and a picture of where."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

T = TypeVar("T")
_FULL = 255
_BRIGHTEST = 99.5
"""Percentile of all differences that is drawn white."""
_LEAST = 16
"""Levels of 255 that are drawn white at least, so that rounding is not blown up."""


@dataclass(frozen=True)
class Difference:
    """Between a cell and its reference.

    Attributes:
        mean: absolute difference of red, green and blue, mean over the picture, in percent of the
            whole range; None where the two have different sizes.
        levels: (height, width) mean of the three channels' absolute differences, 0 to 255.
    """

    mean: float | None
    levels: NDArray[np.float32] | None

    def picture(self, white: float) -> Image.Image | None:
        """Returns where they differ: black is nowhere, white is ``white`` levels or more."""
        if self.levels is None:
            return None
        shades = np.clip(self.levels * (_FULL / white), 0, _FULL)
        return Image.fromarray(np.rint(shades).astype(np.uint8), "L").convert("RGB")


def difference(one: Image.Image, other: Image.Image) -> Difference:
    """Returns how two pictures differ."""
    if one.size != other.size:
        return Difference(None, None)
    pixels = [np.asarray(picture.convert("RGB"), np.float32) for picture in (one, other)]
    levels = np.abs(pixels[0] - pixels[1]).mean(2)
    return Difference(100 * float(levels.mean()) / _FULL, levels)


def white_level(found: Sequence[Difference]) -> float:
    """Returns the level that is drawn white in all pictures of a grid, so that they compare."""
    shares = [d.levels for d in found if d.levels is not None]
    if not shares:
        return float(_FULL)
    return max(_LEAST, max(float(np.percentile(levels, _BRIGHTEST)) for levels in shares))


def references(
    kind: str, cells: Sequence[Sequence[Sequence[T]]], base: Callable[[T], T]
) -> list[T]:
    """Returns what each cell is compared with, in the order [z][y][x].

    Args:
        kind: ``base``, ``column`` (the first one), ``row`` or ``sheet``.
        cells: as [z][y][x].
        base: returns a cell without its LoRA.
    """
    found: list[T] = []
    for z, page in enumerate(cells):
        for y, row in enumerate(page):
            for x, cell in enumerate(row):
                if kind == "base":
                    found.append(base(cell))
                    continue
                at = {"column": (z, y, 0), "row": (z, 0, x), "sheet": (0, y, x)}[kind]
                found.append(cells[at[0]][at[1]][at[2]])
    return found


def beside(cell: Image.Image, other: Image.Image | None) -> Image.Image:
    """Returns a cell with its difference to the right of it; grey where there is none."""
    whole = Image.new("RGB", (2 * cell.width, cell.height), "#808080")
    whole.paste(cell, (0, 0))
    if other is not None:
        whole.paste(other, (cell.width, 0))
    return whole


def opened(path: Path) -> Image.Image:
    """Returns the pixels of a drawn picture."""
    with Image.open(path) as picture:
        return picture.convert("RGB")
