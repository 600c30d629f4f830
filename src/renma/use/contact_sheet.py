"""Small pictures side by side, each with its name (Pillow only)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

MOST = 100
"""Pictures shown; of more, the first."""
CELL, GAP, LINE = 192, 6, 16
"""Pixels: longest side of a picture, between cells, height of a name."""


def contact_sheet(paths: Sequence[Path]) -> Image.Image:
    """Returns the sheet of pictures on disk, as near to a square as rows of them come."""
    small = []
    for path in paths[:MOST]:
        with Image.open(path) as picture:
            one = picture.convert("RGB")
        one.thumbnail((CELL, CELL), Image.Resampling.LANCZOS)
        small.append(one)
    wide, high = (max(one.size[i] for one in small) for i in (0, 1))
    columns = math.ceil(math.sqrt(len(small) * (high + LINE) / wide))
    rows = math.ceil(len(small) / columns)
    size = (GAP + columns * (wide + GAP), GAP + rows * (high + LINE + GAP))
    page, font = Image.new("RGB", size, "#ffffff"), ImageFont.load_default(11)
    draw = ImageDraw.Draw(page)
    for place, (one, path) in enumerate(zip(small, paths, strict=False)):
        left = GAP + place % columns * (wide + GAP)
        top = GAP + place // columns * (high + LINE + GAP)
        page.paste(one, (left, top))
        draw.text((left, top + high + 1), path.stem[: wide // 6], "#1b2130", font)
    return page
