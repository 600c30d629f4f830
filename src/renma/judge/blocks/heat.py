"""Heat maps: how much a picture changed at each place, as colours of even steps.

The colours go from near-black blue over violet and orange to pale yellow. They are spaced by equal
distances in OKLab (Ottosson 2020, https://bottosson.github.io/posts/oklab/) and grow lighter all
the way, so equal differences look equal and people who see red and green alike lose nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from renma.drawing.sheet import INK, PAPER

STOPS = ("#0a0d26", "#3c1f63", "#8a2c6c", "#d1495b", "#f28a3c", "#fbd277", "#fffbe0")
LEVELS = 256
_TO_CONES = np.array(
    [[0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566],
     [0.0883024619, 0.2817188376, 0.6299787005]]
)  # fmt: skip
_TO_LAB = np.array(
    [[0.2104542553, 0.7936177850, -0.0040720468], [1.9779984951, -2.4285922050, 0.4505937099],
     [0.0259040371, 0.7827717662, -0.8086757660]]
)  # fmt: skip
_LEAST, _STEP = 20, 10
"""Of the value that has the lightest colour."""


@lru_cache(maxsize=1)
def palette() -> NDArray[np.uint8]:
    """Returns (256, 3) colours, from no change to the most."""
    corners = np.array([[int(h[i : i + 2], 16) / 255 for i in (1, 3, 5)] for h in STOPS])
    fine = np.linspace(0, len(STOPS) - 1, 4001)
    path = np.stack([np.interp(fine, range(len(STOPS)), axis) for axis in _oklab(corners).T], 1)
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    even = np.interp(np.linspace(0, length[-1], LEVELS), length, fine)
    lab = np.stack([np.interp(even, fine, axis) for axis in path.T], 1)
    return np.round(255 * np.clip(_rgb(lab), 0, 1)).astype(np.uint8)


def top_of(maps: Sequence[NDArray[np.float32]]) -> int:
    """Returns the change that gets the lightest colour in all of these maps, 20 to 255.

    Two places in a hundred, of all maps together, may lie above it.
    """
    strongest = float(np.percentile(np.stack(maps), 98)) if maps else 0.0
    return int(min(255, max(_LEAST, -(-strongest // _STEP) * _STEP)))


def heat_map(where: NDArray[np.float32], top: int) -> Image.Image:
    """Returns the picture of a map of changes.

    Args:
        where: (height, width) changes.
        top: the change that gets the lightest colour; more looks the same.
    """
    level = np.round(np.clip(where / top, 0, 1) * (LEVELS - 1)).astype(np.intp)
    return Image.fromarray(palette()[level])


def strip(width: int = LEVELS, height: int = 12) -> Image.Image:
    """Returns the colours side by side, from no change to the most."""
    place = np.round(np.linspace(0, LEVELS - 1, width)).astype(np.intp)
    return Image.fromarray(np.repeat(palette()[place][None], height, 0))


def legend(top: int) -> Image.Image:
    """Returns the strip with its meaning, for a sheet."""
    page = Image.new("RGB", (620, 34), PAPER)
    page.paste(strip(220, 14), (176, 9))
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(14)
    draw.text((168, 16), "colours: no change", INK, font, anchor="rm")
    draw.text((404, 16), f"{top} of 255 and more", INK, font, anchor="lm")
    return page


def _oklab(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return np.cbrt(linear @ _TO_CONES.T) @ _TO_LAB.T


def _rgb(lab: NDArray[np.float64]) -> NDArray[np.float64]:
    linear = (lab @ np.linalg.inv(_TO_LAB).T) ** 3 @ np.linalg.inv(_TO_CONES).T
    linear = np.clip(linear, 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
