"""Boxes that a person listed: three file forms, shares, names, and one line for each mistake (B2)."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from renma.core.errors import UserError
from renma.prepare import boxes, cut_box

NAMES = ["a.png", "b/c.jpg", "b/d.png", "d.png"]
SIZE = (200, 100)


def _read(tmp_path: Path, name: str, text: str) -> dict[str, list[tuple[int, ...]]]:
    (tmp_path / name).write_text(text, encoding="utf-8")
    found = boxes.read(tmp_path / name, NAMES)
    return {picture: [place.box(SIZE) for place in places] for picture, places in found.items()}


WANTED = {"a.png": [(10, 20, 60, 60), (0, 0, 200, 100)], "b/c.jpg": [(50, 25, 150, 75)]}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("l.csv", "name,left,top,width,height\na.png,10,20,50,40\na,0,0,1,1\nc,25%,25%,50%,50%\n"),
        ("l.csv", "a.png;10;20;50;40\r\n\r\na.png;0;0;1.0;1.0\r\nb\\c.jpg;0.25;0.25;0.5;0.5\r\n"),
        ("l.tsv", "top\tleft\tw\th\tfile\n20\t10\t50\t40\ta\n0\t0\t1\t1\ta\n.25\t.25\t.5\t.5\tc".replace("\t.", "\t0.").replace("\n.", "\n0.")),
        ("l.json", json.dumps({"a.png": [[10, 20, 50, 40], [0, 0, 1, 1]], "b/c": [0.25, 0.25, 0.5, 0.5]})),
        ("l.json", json.dumps([{"name": "a", "x": 10, "y": 20, "w": 50, "h": 40}, {"name": "a", "left": 0, "top": 0, "width": 1, "height": 1}, {"file": "c", "left": "25%", "top": 25, "width": 100, "height": "50%"}])),
        ("l.toml", '"a.png" = [[10, 20, 50, 40], [0, 0, 1, 1]]\n"b/c.jpg" = [0.25, 0.25, 0.5, 0.5]\n'),
        ("l.toml", '[[box]]\nname="a"\nleft=10\ntop=20\nwidth=50\nheight=40\n[[box]]\nname="a"\nleft=0\ntop=0\nwidth=1\nheight=1\n[[box]]\nname="c"\nleft=50\ntop=25\nwidth=100\nheight=50\n'),
    ],
)  # fmt: skip
def test_all_forms_say_the_same(tmp_path: Path, name: str, text: str):
    assert _read(tmp_path, name, text) == WANTED


def test_windows_text_and_decomposed_names(tmp_path: Path):
    (tmp_path / "l.csv").write_bytes("猫.png,1,2,3,4\n".encode("cp932"))
    assert boxes.read(tmp_path / "l.csv", ["猫.png"])["猫.png"][0].box(SIZE) == (1, 2, 4, 6)
    (tmp_path / "l.csv").write_text("cafe\u0301.png,1,2,3,4\n", encoding="utf-16")
    assert [*boxes.read(tmp_path / "l.csv", ["caf\u00e9.png"])] == ["caf\u00e9.png"]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("l.csv", "a.png,1,2,3\n", "line 1: has 4 columns. Write name, left"),
        ("l.csv", "a.png,1,2,3,4\nb/e.png,1,2,3,4\n", "line 2: there is no picture 'b/e.png'. Did you mean"),
        ("l.csv", "x,1,2,3,4\ny,1,2,3,4\n", r"'x' \(and 1 more such lines\)"),
        ("l.csv", "d.png,1,2,3,4\nd,-1,2,3,4\n", "'-1, 2, 3, 4' is no box"),
        ("l.csv", "", "lists no boxes"),
        ("l.json", "{", "is not JSON"),
        ("l.json", "[[1,2,3,4]]", "box 1: has no name"),
        ("l.json", '{"a": {"left": 1}}', "a: '1, None, None, None' is no box"),
        ("l.json", '{"a": [true, 0, 1, 1]}', "is no box"),
        ("l.json", "3", "lists no boxes"),
        ("l.toml", "a = = 3", "is not TOML"),
    ],
)  # fmt: skip
def test_each_mistake_is_one_line_with_its_place(tmp_path: Path, name: str, text: str, said: str):
    with pytest.raises(UserError, match=said) as caught:
        _read(tmp_path, name, text)
    assert "\n" not in caught.value.line()
    assert str(tmp_path / name) in caught.value.line()


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ("150,0,51,10", "reaches to 201x10, beyond the picture's 200x100"),
        ("0,60,10,41", "reaches to 10x101"),
        ("50%,0,51%,10", "reaches to 202x10"),
        ("5,5,0,10", "holds no pixel"),
        ("0.1,0.1,50,40", "'0.1, 0.1, 50, 40' mixes shares up to 1 with others"),
        ("0,0,1,40", "mixes shares"),
        ("10,20,0.5,0.5", r"mixes shares .* Write pixels 10, 20, 300, 200, or shares 0.1"),
        ("10%,0.2,50%,0.5", "mixes shares"),
        ("0.1,0.1,0.001,0.5", "holds no pixel"),
    ],
)
def test_boxes_beyond_the_picture_are_told_not_clipped(tmp_path: Path, cells: str, said: str):
    with pytest.raises(UserError, match=said) as caught:
        _read(tmp_path, "l.csv", f"a.png,{cells}\n")
    assert "line 1" in caught.value.line()


def test_a_missing_file(tmp_path: Path):
    with pytest.raises(UserError, match="cannot be read"):
        boxes.read(tmp_path / "none.csv", NAMES)


@st.composite
def boxed(draw: st.DrawFn) -> tuple[tuple[int, int, int, int], tuple[int, int]]:
    width, height = draw(st.integers(1, 300)), draw(st.integers(1, 300))
    left, top = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    right, bottom = draw(st.integers(left + 1, width)), draw(st.integers(top + 1, height))
    return (left, top, right, bottom), (width, height)


def _holds(outer: tuple[int, ...], inner: tuple[int, ...]) -> bool:
    return (
        outer[0] <= inner[0]
        and outer[1] <= inner[1]
        and inner[2] <= outer[2]
        and inner[3] <= outer[3]
    )


@settings(max_examples=150)
@given(boxed(), st.integers(1, 40), st.integers(1, 40))
def test_shaped_boxes_have_the_shape_lie_inside_and_grow_where_they_can(case, across, up):
    box, size = case
    ratio = Fraction(across, up)
    found = cut_box.shaped(box, ratio, size)
    assert _holds((0, 0, *size), found)
    width, height = found[2] - found[0], found[3] - found[1]
    # one side is exact, the other rounded to a whole pixel of at least one
    near = min(abs(width - height * ratio), abs(height - width / ratio))
    assert near <= Fraction(1, 2) or 1 in (width, height)
    need = (
        max(box[2] - box[0], (box[3] - box[1]) * ratio),
        max(box[3] - box[1], (box[2] - box[0]) / ratio),
    )
    if need[0] + 1 <= size[0] and need[1] + 1 <= size[1]:
        assert _holds(found, box)


@settings(max_examples=100)
@given(boxed(), st.integers(1, 200), boxed())
def test_margins_and_least_sizes_only_grow_within_the_picture(case, side, other):
    box, size = case
    wide = cut_box.widened(box, (side, 0, side, 3), size)
    large = cut_box.at_least(box, side, size)
    for found in (wide, large):
        assert _holds(found, box)
        assert _holds((0, 0, *size), found)
    assert large[2] - large[0] == max(box[2] - box[0], min(side, size[0]))
    assert large[3] - large[1] == max(box[3] - box[1], min(side, size[1]))
    held = tuple(min(edge, limit) for edge, limit in zip(other[0], (*size, *size), strict=True))
    round_ = cut_box.around(box, [held], size)  # pyright: ignore[reportArgumentType]
    assert _holds(round_, box)
    crosses = held[0] < box[2] and box[0] < held[2] and held[1] < box[3] and box[1] < held[3]
    assert not crosses or _holds(round_, held)


def test_what_must_stay_stays_where_a_shape_cuts():
    """A tall box in a narrow picture made square: the face at its top is kept."""
    face = (30, 5, 70, 45)
    assert cut_box.shaped((0, 0, 100, 400), Fraction(1), (100, 400)) == (0, 150, 100, 250)
    assert cut_box.shaped((0, 0, 100, 400), Fraction(1), (100, 400), face) == (0, 5, 100, 105)
