"""The labelled sheet of an analysis of blocks: pictures, heat maps and a bar for each block."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from renma.drawing.sheet import INK, PAPER, SOFT, join, sheet
from renma.judge.blocks.effect import Drawn, Effect, Effects
from renma.judge.blocks.heat import heat_map, legend, top_of

OFF, ALONE = "#2b6cb0", "#e0872f"
"""Of the bars; told apart by people who see red and green alike."""
_LARGEST = 192
"""Pixels of a cell; a model has up to 26 blocks."""
_HEADS = ("switched off", "what changes", "alone", "what changes", "share of the LoRA")


def top(found: Effects) -> int:
    """Returns the change that has the lightest colour in every heat map of an analysis."""
    drawn = [
        one.where
        for effect in found.blocks
        for one in (
            effect.off and effect.off.from_whole,
            effect.only and effect.only.from_base,
        )
        if one
    ]
    return top_of(drawn)


def sheet_of(found: Effects, title: str) -> Image.Image:
    """Returns the sheet.

    Args:
        found: the analysis.
        title: stands above everything.
    """
    light, first = top(found), Image.fromarray(found.base[0])
    scale = min(1.0, _LARGEST / max(first.size))
    cell = (round(first.width * scale), round(first.height * scale))
    cell = (max(128, cell[0]), max(128, cell[1]))
    where = found.whole.from_base.where
    own = top_of([where])
    head = sheet(
        [[first, _picture(found.whole), heat_map(where, own)]],
        row_labels=["whole LoRA"],
        column_labels=["base model", "with the LoRA", f"what changes, up to {own}"],
        cell=cell,
    )
    pages = [head]
    for kind, effects in (("Blocks", found.blocks), ("Presets", found.presets)):
        shown = [effect for effect in effects if effect.row.drawn]
        if shown:
            rows = [_row(found, effect, light, cell) for effect in shown]
            labels = [effect.row.name for effect in shown]
            heads = _HEADS if kind == "Blocks" else ("drawn with it", *_HEADS[3:])
            pages.append(sheet(rows, row_labels=labels, column_labels=heads, title=kind, cell=cell))
    return join([*pages, legend(light)], columns=1, title=title)


def _row(
    found: Effects, effect: Effect, light: int, cell: tuple[int, int]
) -> Sequence[Image.Image | None]:
    alone = effect.only
    assert alone is not None
    row = [_picture(alone), heat_map(alone.from_base.where, light)]
    if effect.off is not None:
        row = [_picture(effect.off), heat_map(effect.off.from_whole.where, light), *row]
    return [*row, _bars(found, effect, cell)]


def _picture(drawn: Drawn) -> Image.Image:
    return Image.fromarray(drawn.pictures[0])


def _bars(found: Effects, effect: Effect, size: tuple[int, int]) -> Image.Image:
    """Returns the shares as bars; the whole width is all that the LoRA does."""
    page = Image.new("RGB", size, PAPER)
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(13)
    parts = []
    if effect.off is not None:
        parts.append(("off", OFF, effect.off.from_whole))
    if effect.only is not None:
        parts.append(("alone" if effect.off else "on", ALONE, effect.only.from_base))
    step, wide = 46, size[0] - 10
    y = (size[1] - step * len(parts)) // 2
    for word, colour, one in parts:
        share = found.share(one)
        draw.text((4, y), f"{word} {100 * share:.0f} %", INK, font)
        draw.rectangle((4, y + 17, 4 + wide, y + 25), outline=SOFT)
        draw.rectangle((4, y + 17, 4 + round(wide * min(1.0, share)), y + 25), fill=colour)
        draw.text((4, y + 27), f"{one.percent:.0f} % of pixels", SOFT, ImageFont.load_default(11))
        y += step
    return page
