"""Labelled sheets of pictures: rows, columns, a title, joined pages (Pillow only).

Labels are set in the font inside Pillow, which has ASCII signs only: accents are dropped and a few
signs are spelt (× as x, → as ->), any other sign appears as an empty box (:func:`missing_signs`
tells). Nothing is looked up on the machine, so a sheet has the same pixels everywhere.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import lru_cache

from PIL import Image, ImageDraw, ImageFont

PAPER, INK, SOFT, EMPTY = "#ffffff", "#1b2130", "#69707f", "#eceef2"
_SPELT = str.maketrans(
    {"×": "x", "→": "->", "–": "-", "—": "-", "“": '"', "”": '"', "‘": "'", "’": "'", "、": ", "}
)
_SMALLEST, _LARGEST = 128, 320  # pixels; the default cell keeps a sheet readable and sendable

Rows = Sequence[Sequence[Image.Image | None]]


def sheet(
    rows: Rows,
    *,
    row_labels: Sequence[str],
    column_labels: Sequence[str],
    title: str = "",
    cell: tuple[int, int] | None = None,
) -> Image.Image:
    """Returns one picture with all pictures in labelled rows and columns.

    Args:
        rows: pictures of any size, fitted into the cell with their aspect ratio kept; ``None``
            leaves the cell empty; short rows are filled up with empty cells.
        row_labels: one a row; wrapped, then cut with an ellipsis.
        column_labels: one a column; wrapped to three lines, then cut.
        title: stands above everything; may be empty.
        cell: width and height in pixels (default: the largest picture, 128 to 320).

    Raises:
        ValueError: labels and rows or columns differ in number.
    """
    columns = max((len(row) for row in rows), default=0)
    if len(row_labels) != len(rows) or len(column_labels) < columns:
        raise ValueError(f"{len(row_labels)} x {len(column_labels)} labels for {len(rows)} rows")
    size = cell or _default_cell(rows)
    font = _font(max(13, min(20, size[0] // 9)))
    gap, line = 6, _line_height(font)
    heads = [wrap(text, font, size[0] - 6, 3) for text in column_labels]
    sides = _side_labels(row_labels, font, size, line)
    left = max((_width(lines, font) for lines in sides), default=0) + (14 if any(sides) else 0)
    width = gap + left + len(column_labels) * (size[0] + gap)
    heading = wrap(title, _font(font.size + 4), width - 2 * gap, 3) if title else []
    top = gap + len(heading) * _line_height(_font(font.size + 4)) + (6 if heading else 0)
    head_height = max((len(lines) for lines in heads), default=0) * line + 6
    height = top + head_height + len(rows) * (size[1] + gap)
    page = Image.new("RGB", (max(width, 1), max(height, 1)), PAPER)
    draw = ImageDraw.Draw(page)
    _text(draw, (gap + 2, gap), heading, _font(font.size + 4), INK)
    for c, lines in enumerate(heads):
        centre = gap + left + c * (size[0] + gap) + size[0] / 2
        base = top + head_height - 5 - len(lines) * line
        _text(draw, (centre, base), lines, font, INK, anchor="ma")
    for r, row in enumerate(rows):
        y = top + head_height + r * (size[1] + gap)
        middle = y + (size[1] - len(sides[r]) * line) / 2
        _text(draw, (gap + left - 8, middle), sides[r], font, INK, anchor="ra")
        for c in range(len(column_labels)):
            picture = row[c] if c < len(row) else None
            _place(page, draw, picture, (gap + left + c * (size[0] + gap), y), size)
    return page


def join(pages: Sequence[Image.Image], *, columns: int = 2, title: str = "") -> Image.Image:
    """Returns pages side by side, ``columns`` a row, under a common title."""
    gap = 18
    lines = [pages[i : i + columns] for i in range(0, len(pages), columns)]
    widths = [max(line[c].width for line in lines if c < len(line)) for c in range(len(lines[0]))]
    heights = [max(page.height for page in line) for line in lines]
    width = sum(widths) + gap * (len(widths) + 1)
    font = _font(24)
    heading = wrap(title, font, width - 2 * gap, 2) if title else []
    top = len(heading) * _line_height(font) + (gap if heading else 0)
    whole = Image.new("RGB", (width, top + sum(heights) + gap * (len(heights) + 1)), PAPER)
    _text(ImageDraw.Draw(whole), (gap + 8, gap), heading, font, INK)
    y = top + gap
    for line, height in zip(lines, heights, strict=True):
        x = gap
        for page, column in zip(line, widths, strict=False):
            whole.paste(page, (x, y + height - page.height))  # the cells line up
            x += column + gap
        y += height + gap
    return whole


def missing_signs(text: str) -> str:
    """Returns the signs of a text that a sheet can only show as empty boxes, each once."""
    shown = dict.fromkeys(_drawable(text))
    return "".join(sign for sign in shown if not _has_shape(sign))


def wrap(text: str, font: ImageFont.FreeTypeFont, width: float, lines: int) -> list[str]:
    """Returns at most ``lines`` lines that fit ``width`` pixels; what is cut ends in ``…``."""
    words = _drawable(text).split()
    result: list[str] = []
    for word in words:
        joined = f"{result[-1]} {word}" if result else word
        if result and font.getlength(joined) <= width:
            result[-1] = joined
            continue
        rest = word
        while font.getlength(rest) > width and len(rest) > 1:
            cut = _fitting(rest, font, width)
            result.append(rest[:cut])
            rest = rest[cut:]
        result.append(rest)
    if len(result) > lines:
        last = result[lines - 1]
        while last and font.getlength(f"{last}…") > width:
            last = last[:-1]
        result = [*result[: lines - 1], f"{last.rstrip(' ,')}…"]
    return result


def _side_labels(
    labels: Sequence[str], font: ImageFont.FreeTypeFont, size: tuple[int, int], line: int
) -> list[list[str]]:
    # a narrow label column reads well; long prompts get more lines, then more width, then a cut
    most = max(1, size[1] // line)
    for width in (110, 170, 240):
        sides = [wrap(text, font, width, most) for text in labels]
        if not any(lines and lines[-1].endswith("…") for lines in sides):
            break
    return sides


def _place(
    page: Image.Image,
    draw: ImageDraw.ImageDraw,
    picture: Image.Image | None,
    at: tuple[int, int],
    size: tuple[int, int],
) -> None:
    if picture is None:
        box = (*at, at[0] + size[0] - 1, at[1] + size[1] - 1)
        draw.rectangle(box, fill=EMPTY)
        draw.text((at[0] + size[0] / 2, at[1] + size[1] / 2), "-", SOFT, _font(16), anchor="mm")
        return
    fitted = on_paper(picture)
    scale = min(size[0] / fitted.width, size[1] / fitted.height)
    if scale < 1 or scale >= 2:
        # small pictures grow by whole pixels only, so that what was drawn is what is shown
        scale = float(int(scale)) if scale >= 2 else scale
        how = Image.Resampling.NEAREST if scale >= 2 else Image.Resampling.LANCZOS
        wide, high = (max(1, round(side * scale)) for side in fitted.size)
        fitted = fitted.resize((wide, high), how)
    x, y = (at[i] + (size[i] - fitted.size[i]) // 2 for i in (0, 1))
    page.paste(fitted, (x, y))


def on_paper(picture: Image.Image) -> Image.Image:
    """Returns the picture as RGB, transparent parts on white."""
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        layer = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, PAPER), layer).convert("RGB")
    return picture.convert("RGB")


def _default_cell(rows: Rows) -> tuple[int, int]:
    sizes = [picture.size for row in rows for picture in row if picture is not None]
    width, height = (max((s[i] for s in sizes), default=_SMALLEST) for i in (0, 1))
    scale = max(1.0, _SMALLEST / max(width, height)) * min(1.0, _LARGEST / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _text(
    draw: ImageDraw.ImageDraw,
    at: tuple[float, float],
    lines: Sequence[str],
    font: ImageFont.FreeTypeFont,
    colour: str,
    anchor: str = "la",
) -> None:
    for number, text in enumerate(lines):
        place = (round(at[0]), round(at[1] + number * _line_height(font)))
        draw.text(place, text, colour, font, anchor=anchor)


def _width(lines: Sequence[str], font: ImageFont.FreeTypeFont) -> int:
    return round(max((font.getlength(line) for line in lines), default=0))


def _line_height(font: ImageFont.FreeTypeFont) -> int:
    return round(font.size * 1.22)


def _fitting(text: str, font: ImageFont.FreeTypeFont, width: float) -> int:
    cut = len(text)
    while cut > 1 and font.getlength(text[:cut]) > width:
        cut -= 1
    return cut


def _drawable(text: str) -> str:
    spelt = unicodedata.normalize("NFC", text).translate(_SPELT)
    return "".join(_without_accent(sign) for sign in spelt)


def _without_accent(sign: str) -> str:
    if sign.isspace() or unicodedata.category(sign) in ("Cc", "Cf"):
        return " "
    base = unicodedata.normalize("NFKD", sign)[0]
    return base if base.isascii() and not _has_shape(sign) else sign


@lru_cache(maxsize=4096)
def _has_shape(sign: str) -> bool:
    return sign.isspace() or _shape(sign) != _shape("\U0010ffff")


def _shape(sign: str) -> bytes:
    page = Image.new("L", (48, 48))
    ImageDraw.Draw(page).text((8, 8), sign, 255, _font(16))
    return page.tobytes()


@lru_cache(maxsize=32)
def _font(size: float) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise RuntimeError("Pillow was built without FreeType")
    return font
