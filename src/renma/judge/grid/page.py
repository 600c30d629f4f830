"""A grid as one HTML file: no outside link, one small script, opens from disk.

All text of prompts and labels comes from outside and is escaped by the template engine; a content
security policy in the page allows its own pictures, style and script (by their hashes) alone.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

from markupsafe import Markup

from renma.core.html_page import environment
from renma.core.store import write_text
from renma.judge.grid.drawn import Cell, Drawn
from renma.judge.grid.facts import labels, page_title, percent, shared
from renma.judge.inline import Picture, inline

LONGEST = 2048
"""Pixels of a picture's longest side; larger ones are made smaller."""
MOST_BYTES = 400_000
"""Of one picture; noisier ones are coarser."""
EXACT = 256
"""Pictures up to so many pixels are shown enlarged with hard edges: what was drawn is shown."""
_LEAST, _MOST, _PHONE = 128, 224, 132  # pixels a picture is wide at first
_NARROW = 520  # pixels of cells up to which two sheets stand side by side
_COMPARED = {
    "base": "the base model's picture", "column": "the first column", "row": "the first row",
    "sheet": "the first sheet",
}  # fmt: skip


def write(drawn: Drawn, target: Path) -> None:
    """Writes the page.

    Raises:
        UserError: the disk is full.
    """
    write_text(target, render(drawn))


def render(drawn: Drawn) -> str:
    """Returns the page."""
    return environment("renma.judge").get_template("grid.html.jinja").render(_context(drawn))


def _context(drawn: Drawn) -> dict[str, Any]:
    plan, known = drawn.plan, dict[Path, Picture]()
    with drawn.cells()[0].picture() as first:
        side = first.width
    while side < _LEAST:
        side *= 2
    cell = min(side, _MOST)
    style, script = _text("grid.css"), _text("grid.js")
    style += f":root{{--cell:{cell}px;--phone:{min(cell, _PHONE)}px}}\n"
    if first.width <= EXACT:
        style += "td img,.stage img{image-rendering:pixelated}\n"
    facts = shared(drawn)
    one_prompt = not plan.z.name and "prompt" in facts
    rows = labels(plan.y)
    return {
        "title": plan.title,
        "shared": facts,
        "difference": _COMPARED.get(plan.difference or "", ""),
        "white": round(drawn.white),
        "cell": cell,
        # with and without the trigger word side by side, where both fit
        "paired": len(plan.x.values) * cell * (2 if plan.difference else 1) <= _NARROW,
        "x": plan.x.name,
        "y": plan.y.name,
        "columns": labels(plan.x) if plan.x.name else [""],
        "rows": rows if plan.y.name else [],
        "pages": [
            {
                "title": "" if one_prompt else _page_name(drawn, number),
                "kind": plan.z.values[number].kind,
                "rows": _rows(drawn, number, known),
            }
            for number in range(len(drawn.pages))
        ],
        "style": Markup(style),  # a file of ours
        "script": Markup(script),
        "style_hash": _hash(style),
        "script_hash": _hash(script),
    }


def _page_name(drawn: Drawn, number: int) -> str:
    return drawn.plan.z.values[number].label or page_title(drawn, number)


def _rows(drawn: Drawn, z: int, known: dict[Path, Picture]) -> list[list[dict[str, Any]]]:
    def shown(cell: Cell) -> Picture:
        # the base model's picture stands in many cells
        if cell.path not in known:
            known[cell.path] = inline(cell.picture(), LONGEST, MOST_BYTES)
        return known[cell.path]

    return [
        [_cell(drawn, cell, shown, (z, y, x)) for x, cell in enumerate(row)]
        for y, row in enumerate(drawn.pages[z])
    ]


def _cell(
    drawn: Drawn, cell: Cell, shown: Callable[[Cell], Picture], at: tuple[int, int, int]
) -> dict[str, Any]:
    z, y, x = at
    plan, change, figure = drawn.plan, None, ""
    if cell.difference is not None:
        figure = percent(cell.difference.mean)
        pixels = cell.difference.picture(drawn.white)
        change = inline(pixels, LONGEST, MOST_BYTES) if pixels else None
    parts = (plan.y.values[y].label, plan.x.values[x].label, plan.z.values[z].label)
    label = " · ".join(part for part in parts if part)
    return {
        "z": z, "y": y, "x": x, "picture": shown(cell), "change": change, "figure": figure,
        "label": label or "picture",
    }  # fmt: skip


def _text(name: str) -> str:
    return (files("renma.judge") / "templates" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
