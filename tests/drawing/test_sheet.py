"""Sheets: every picture in its place, undistorted; labels that fit."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFont

from renma.drawing.sheet import join, missing_signs, on_paper, sheet, wrap

COLOURS = ["#ff0000", "#00ff00", "#0000ff", "#ff00ff", "#00ffff", "#ffff00"]


def box(page: Image.Image, colour: str) -> tuple[int, int, int, int]:
    """Bounding box (left, top, right, bottom) of exactly one colour."""
    rgb = tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5))
    rows, columns = np.nonzero((np.asarray(page) == rgb).all(2))
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def plain(colour: str, size: tuple[int, int] = (128, 128)) -> Image.Image:
    return Image.new("RGB", size, colour)


def test_every_picture_lies_in_its_row_and_column() -> None:
    rows = [[plain(c) for c in COLOURS[:3]], [plain(c) for c in COLOURS[3:]]]
    page = sheet(rows, row_labels=["a", "b"], column_labels=["x", "y", "z"], title="t")
    boxes = [[box(page, c) for c in COLOURS[:3]], [box(page, c) for c in COLOURS[3:]]]
    for row in boxes:
        assert all((right - left, low - top) == (128, 128) for left, top, right, low in row)
        assert len({top for _, top, _, _ in row}) == 1
        assert all(a[2] < b[0] for a, b in pairwise(row))
    for upper, lower in zip(*boxes, strict=True):
        assert upper[0] == lower[0]
        assert upper[3] < lower[1]


def test_aspect_is_kept_and_large_pictures_shrink() -> None:
    page = sheet(
        [[plain("#ff0000", (300, 600)), plain("#00ff00", (600, 300))]],
        row_labels=[""],
        column_labels=["", ""],
        cell=(100, 150),
    )
    left, top, right, low = box(page, "#ff0000")
    assert (right - left, low - top) == (75, 150)
    left, top, right, low = box(page, "#00ff00")
    assert (right - left, low - top) == (100, 50)


def test_default_cell_follows_the_pictures() -> None:
    page = sheet([[plain("#ff0000", (512, 1024))]], row_labels=[""], column_labels=[""])
    left, top, right, low = box(page, "#ff0000")
    assert (right - left, low - top) == (160, 320)


def test_missing_cells_stay_empty() -> None:
    page = sheet([[None, plain("#ff0000")], []], row_labels=["a", "b"], column_labels=["x", "y"])
    assert box(page, "#ff0000")[0] > 128
    with pytest.raises(ValueError, match="labels"):
        sheet([[None]], row_labels=["a", "b"], column_labels=["x"])


def test_transparent_parts_are_paper() -> None:
    hidden = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    assert on_paper(hidden).getpixel((0, 0)) == (255, 255, 255)


def test_signs_without_shape_are_told_and_do_not_stop() -> None:
    assert missing_signs("aa12, 笑顔 é × — …") == "笑顔"
    page = sheet(
        [[plain("#ff0000")]], row_labels=["笑顔\x00\n"], column_labels=["×"], title="猫" * 90
    )
    assert box(page, "#ff0000")


def test_labels_are_drawn() -> None:
    labels = [("", ""), ("weight 1", ""), ("", "step 10")]
    dark = [
        (np.asarray(sheet([[None]], row_labels=[row], column_labels=[head])) < 60).all(2).sum()
        for head, row in labels
    ]
    assert dark[0] == 0
    assert min(dark[1:]) > 20


def test_joined_pages_keep_their_pixels() -> None:
    pages = [plain(c, (50 + 10 * i, 40 + 20 * i)) for i, c in enumerate(COLOURS[:3])]
    whole = join(pages, columns=2, title="all")
    for page, colour in zip(pages, COLOURS, strict=False):
        left, top, right, low = box(whole, colour)
        assert (right - left, low - top) == page.size
    # pages of one row end at the same height, so that their cells line up
    assert box(whole, COLOURS[0])[3] == box(whole, COLOURS[1])[3] < box(whole, COLOURS[2])[1]


@given(st.text(st.sampled_from("abcW ,-"), max_size=80), st.integers(30, 200), st.integers(1, 4))
def test_wrapped_lines_fit_and_lose_nothing_unsaid(text: str, width: int, lines: int) -> None:
    font = ImageFont.load_default(14)
    assert isinstance(font, ImageFont.FreeTypeFont)
    found = wrap(text, font, width, lines)
    assert len(found) <= lines
    assert all(font.getlength(line) <= width for line in found)
    shown = "".join(found).replace(" ", "")
    if shown.endswith("…"):
        assert text.replace(" ", "").startswith(shown[:-1])
    else:
        assert shown == text.replace(" ", "")
