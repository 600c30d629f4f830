"""A grid as one labelled PNG: a sheet for each value of the third axis."""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from renma.core.errors import UserError
from renma.core.store import write_atomic
from renma.drawing.sheet import join, sheet
from renma.judge.grid.differ import beside
from renma.judge.grid.drawn import Cell, Drawn
from renma.judge.grid.facts import about, labels, page_title, percent, shared

ABOUT = "renma"
"""Name of the text chunk in the PNG that tells prompts and axes as JSON."""
LONGEST, SHORTEST = 320, 128
"""Pixels of a picture's longest side: larger and smaller ones are fitted."""
MOST_PIXELS = 300_000_000


def write(drawn: Drawn, target: Path) -> None:
    """Writes the picture.

    Raises:
        UserError: it would be larger than programs open, or the disk is full.
    """
    info = PngInfo()
    info.add_itxt(ABOUT, json.dumps(about(drawn), ensure_ascii=False))
    whole = picture(drawn)
    # level 6 is as small as "optimize" within a percent, and several times as fast
    write_atomic(target, lambda part: whole.save(part, format="PNG", pnginfo=info))


def picture(drawn: Drawn) -> Image.Image:
    """Returns all sheets in one picture.

    Raises:
        UserError: it would be larger than programs open.
    """
    plan = drawn.plan
    with Image.open(drawn.cells()[0].path) as first:
        scale = min(1.0, LONGEST / max(first.size))
        size = round(first.width * scale), round(first.height * scale)
    wide = 2 if plan.difference else 1
    grown = max(1.0, SHORTEST / max(size))
    if len(drawn.cells()) * size[0] * wide * size[1] > MOST_PIXELS:
        raise UserError(
            f"{len(drawn.cells()):,} pictures are too many for one",
            where=plan.out,
            remedy="Write a page instead: -o grid.html.",
        )
    pages = [
        sheet(
            [[_cell(cell, size, drawn.white) for cell in row] for row in page],
            row_labels=labels(plan.y),
            column_labels=labels(plan.x),
            title=page_title(drawn, number),
            cell=(round(size[0] * wide * grown), round(size[1] * grown)),
        )
        for number, page in enumerate(drawn.pages)
    ]
    prompt = shared(drawn).get("prompt", "") if plan.z.name else ""
    return join(pages, columns=2, title=f"{plan.title} - {prompt}" if prompt else plan.title)


def _cell(cell: Cell, size: tuple[int, int], white: float) -> Image.Image:
    one = cell.picture()
    if one.width > size[0] or one.height > size[1]:
        one.thumbnail(size, Image.Resampling.LANCZOS)
    if cell.difference is None:
        return one
    other = cell.difference.picture(white)
    if other is not None:
        other = other.resize(one.size, Image.Resampling.BOX)
    return _figure(beside(one, other), percent(cell.difference.mean))


def _figure(pair: Image.Image, text: str) -> Image.Image:
    """Writes a mean difference into the corner of its picture."""
    font = ImageFont.load_default(max(10, pair.height // 12))
    draw = ImageDraw.Draw(pair)
    at = (pair.width - 4, pair.height - 4)
    box = draw.textbbox(at, text, font=font, anchor="rb")
    draw.rectangle((box[0] - 4, box[1] - 3, pair.width, pair.height), fill="#000000")
    draw.text(at, text, "#ffffff", font, anchor="rb")
    return pair
