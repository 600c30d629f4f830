"""Cutting to the subject, to parts of a figure, to shapes and buckets (B2, B9)."""

from __future__ import annotations

import json
import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from renma.cli import main
from renma.config.prepare.crop import CropOptions
from renma.core.errors import UserError
from renma.core.events import Silent
from renma.data import buckets
from renma.prepare import body, faces, saliency, subject
from renma.prepare.boxes import Place
from renma.prepare.crop import Eyes, cut, run

SPRITES = Path(os.environ.get("RENMA_SPRITES", "/usr/share/games/renpy/the_question/game/images"))

ALL, NONE = (True, True, True, True), (False, False, False, False)


def options(**given: Any) -> CropOptions:
    return CropOptions.model_validate({"folder": Path("pictures"), **given})


def figure(arms: bool = False, heads: float = 6.0, feet: bool = True) -> Image.Image:
    """A drawn person on nothing: head of 60 x 80 pixels at (120..180, 40..120), neck, trunk, legs."""
    end = 40 + round(80 * heads)
    picture = Image.new("RGBA", (300, end + 40 if feet else end - 60), (0, 0, 0, 0))
    draw = ImageDraw.Draw(picture)
    draw.ellipse((120, 40, 180, 120), fill="peru")
    draw.rectangle((140, 110, 160, 140), fill="peru")
    draw.rectangle((100, 135, 200, 40 + round(40 * heads)), fill="navy")
    draw.rectangle((105, 40 + round(40 * heads), 195, end - 1), fill="black")
    if arms:
        draw.rectangle((10, 150, 290, 170), fill="peru")
    return picture


def seeing(*boxes: tuple[int, int, int, int]) -> faces.Detect:
    return lambda rgb: [faces.Face(tuple(map(float, box)), 0.9) for box in boxes]  # pyright: ignore[reportArgumentType]


def eyes(*boxes: tuple[int, int, int, int]) -> Eyes:
    return Eyes(subject.opened("alpha"), seeing(*boxes))


FACE = (130, 60, 170, 118)


def test_the_subject_with_its_margin():
    (made,) = cut(figure(), options(subject=True, margin=0.1), Eyes(subject.opened("alpha")))
    assert made.box == (
        100 - 48,
        0,
        200 + 48 + 1,
        560,
    )  # 0.1 of 481 pixels, as far as there is room
    (made,) = cut(figure(), options(subject=True, margin=0), Eyes(subject.opened("alpha")))
    assert made.box == (100, 40, 201, 520)
    assert made.picture.tobytes() == figure().crop(made.box).tobytes()
    assert made.facts["backend"] == "alpha"


@pytest.mark.parametrize("heads", [3.0, 5.0, 6.5, 8.0])
@pytest.mark.parametrize("boxes", [(FACE,), ()])
def test_parts_follow_the_proportions_of_the_figure(heads: float, boxes):
    """Face or neck tells the head; the parts end at shares of what is below the chin."""
    mask = np.asarray(figure(heads=heads).getchannel("A")) > 0
    measured = body.measured(mask, boxes)
    assert measured is not None
    assert measured.feet
    assert measured.head == ("face" if boxes else "neck")
    assert abs(measured.top - 40) <= 1
    assert abs(measured.chin - 120) <= 6
    rows = [measured.row(part) for part in ("head", "bust", "waist", "thigh")]
    assert measured.chin < rows[0] <= rows[1] < rows[2] < rows[3] < measured.bottom
    below = 80 * (heads - 1)
    for row, share in zip(rows[1:], (0.185, 0.34, 0.6), strict=True):
        assert abs(row - (120 + share * below)) <= 0.05 * below + 6


@settings(max_examples=60)
@given(
    st.integers(0, 200), st.integers(1, 300), st.integers(0, 900), st.booleans(),
    st.sampled_from(["head", "bust", "waist", "thigh"]),
)  # fmt: skip
def test_no_part_ends_above_the_chin_or_below_what_is_seen(top, head, rest, feet, part):
    chin = top + head
    row = body.Figure(top, chin, chin + rest, feet, "face").row(part)
    assert chin <= row <= chin + rest
    assert row > chin or rest == 0


def test_a_raised_hand_makes_no_longer_head():
    mask = np.asarray(figure().getchannel("A")) > 0
    raised = mask.copy()
    raised[5:160, 190:215] = True
    plain, other = body.measured(mask, [FACE]), body.measured(raised, [FACE])
    assert plain
    assert other
    assert (plain.top, plain.row("waist")) == (other.top, other.row("waist"))


def test_body_parts_are_pictures_of_their_own_beside_the_whole():
    """The guide: cut to shrink the background, and keep the whole figure too."""
    chosen = options(body=("bust", "thigh", "keep"), keep_original=True, margin=0)
    made = cut(figure(), chosen, eyes(FACE))
    assert [m.suffix for m in made] == ["", "-bust", "-thigh", "-crop"]
    assert made[0].picture.size == figure().size
    boxes = [m.box for m in made[1:]]
    bottoms = [box[3] for box in boxes if box]
    assert bottoms == sorted(bottoms)
    assert bottoms[-1] == 520
    assert made[1].facts["body"] == "bust"
    assert made[1].facts["head"] == "face"
    (alone,) = cut(figure(), options(body=("waist",)), eyes(FACE))
    assert alone.suffix == ""


def test_a_part_below_the_end_of_the_picture_is_all_there_is():
    short = figure().crop((0, 0, 300, 220))
    made = cut(short, options(body=("waist", "thigh"), margin=0), eyes(FACE))
    assert [m.facts["body"] for m in made] == ["waist"] or len(made) == 1
    assert made[-1].box is not None
    assert made[-1].box[3] <= 220


def test_arms_that_stretch_away_are_left_out_but_never_the_face():
    wide = cut(figure(arms=True), options(subject=True, margin=0), eyes())
    assert wide[0].box
    assert wide[0].box[::2] == (10, 291)
    (made,) = cut(figure(arms=True), options(cut_arms=True), eyes(FACE))
    assert made.box
    assert 95 <= made.box[0] <= 102
    assert 198 <= made.box[2] <= 206
    assert made.facts["arms"] == "cut"
    (made,) = cut(figure(), options(cut_arms=True, margin=0), eyes(FACE))
    assert made.facts["arms"] == "within"
    leaning = (170, 60, 240, 118)
    (made,) = cut(figure(arms=True), options(cut_arms=True), eyes(leaning))
    assert made.box
    assert made.box[2] >= 240


def test_no_face_of_another_figure_is_cut_through():
    (made,) = cut(figure(), options(body=("bust",), margin=0), eyes(FACE, (150, 150, 200, 240)))
    assert made.box
    assert made.box[3] >= 240


def test_without_a_head_a_figure_is_not_cut_by_guess():
    block = Image.new("RGBA", (200, 300), (0, 0, 0, 0))
    block.paste("navy", (50, 50, 150, 250))
    with pytest.raises(UserError, match="no head was found"):
        cut(block, options(body=("bust",)), eyes())
    (made,) = cut(block, options(body=("bust",), missing="copy"), eyes())
    assert made.picture.size == (200, 300)
    assert "no head" in made.facts["missing"]
    (made,) = cut(block, options(body=("bust",), keep_original=True), eyes())
    assert made.facts["whole"] is True
    (made,) = cut(block, options(body=("keep", "bust"), margin=0), eyes())
    assert made.box == (50, 50, 150, 250)
    assert "bust: no head" in made.facts["missing"]
    with pytest.raises(UserError, match="no transparency"):
        cut(block.convert("RGB"), options(subject=True), eyes())


def test_specks_are_no_subject():
    picture = figure()
    picture.putpixel((2, 2), (255, 0, 0, 255))
    (made,) = cut(picture, options(subject=True, margin=0), eyes())
    assert made.box == (100, 40, 201, 520)


def _ratio(shape: str, width: int, height: int) -> float:
    return width / height if shape == "keep" else float(Fraction(shape.replace(":", "/")))


@settings(max_examples=40)
@given(
    st.integers(64, 400), st.integers(64, 400), st.sampled_from(["1:1", "2:3", "16:9", "keep"]),
    st.integers(1, 64),
)  # fmt: skip
def test_shapes_of_cut_outs(width: int, height: int, shape: str, least: int):
    picture = Image.new("RGB", (width, height))
    place = Place((0.25, 0.25, 0.5, 0.5), ALL, "list")
    chosen = options(boxes=Path("l.csv"), aspect=shape, min_size=least)
    # the largest cut-out of the shape in the whole picture
    ratio = _ratio(shape, width, height)
    if min(width, height * ratio, height, width / ratio) < least - 0.5:
        with pytest.raises(UserError, match="is too small"):
            cut(picture, chosen, Eyes(), [place])
        return
    (made,) = cut(picture, chosen, Eyes(), [place])
    wide, high = made.picture.size
    assert min(wide, high) >= least
    assert min(abs(wide - high * ratio), abs(high - wide / ratio)) <= 0.5 + 1e-9


@settings(max_examples=40)
@given(st.integers(80, 2000), st.integers(80, 2000))
def test_bucket_shapes_lose_next_to_nothing_in_the_trainer(width: int, height: int):
    """B9: what the trainer cuts off afterwards is rounding: two pixels' worth at most."""
    chosen = options(aspect="bucket", resolution="512x512")
    (made,) = cut(Image.new("L", (width, height)).convert("RGB"), chosen, Eyes())
    fit = buckets.fit(*made.picture.size, chosen.dataset((512, 512)))
    assert fit.cropped_away <= 2 / min(made.picture.size)
    before = buckets.fit(width, height, chosen.dataset((512, 512)))
    assert (fit.width, fit.height) == (before.width, before.height)


def test_listed_boxes_are_cut_as_they_stand():
    photo = Image.fromarray(skimage.data.astronaut())
    places = [
        Place((10, 20, 100, 90), NONE, "l:1"),
        Place((0.5, 0, 0.5, 1), ALL, "l:2"),
    ]
    chosen = options(boxes=Path("l.csv"), min_size=1)
    made = cut(photo, chosen, Eyes(), places)
    assert [m.box for m in made] == [(10, 20, 110, 110), (256, 0, 512, 512)]
    assert len({m.suffix for m in made}) == 2
    assert made[0].picture.tobytes() == photo.crop((10, 20, 110, 110)).tobytes()
    with pytest.raises(UserError, match=r"is not in l\.csv"):
        cut(photo, chosen, Eyes(), [])


@pytest.mark.parametrize("corner", [(30, 20), (150, 100), (20, 120)])
@pytest.mark.parametrize("grain", [0, 12])
def test_saliency_holds_what_stands_out(corner: tuple[int, int], grain: int):
    pixels = np.full((200, 260, 3), (120, 130, 110), np.float64)
    pixels[corner[1] : corner[1] + 60, corner[0] : corner[0] + 80] = (200, 40, 30)
    pixels += np.random.default_rng(0).normal(0, grain, pixels.shape)
    box = saliency.box(np.clip(pixels, 0, 255).astype(np.uint8))
    assert box
    left, top, right, bottom = box
    assert left <= corner[0] + 6
    assert top <= corner[1] + 6
    assert right >= corner[0] + 74
    assert bottom >= corner[1] + 54
    assert (right - left) * (bottom - top) < 3 * 60 * 80
    assert saliency.box(np.full((50, 50, 3), 7, np.uint8)) is None


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "nothing says what to cut"),
        ({"subject": True, "saliency": True}, "say two things"),
        ({"boxes": "l.csv", "borders": True}, "--borders has no effect with --boxes"),
        ({"subject": True, "tolerance": 3}, "--tolerance has no effect without --borders"),
        ({"borders": True, "model": "m.onnx"}, "--model has no effect without --subject"),
        ({"borders": True, "margin": 0.2}, "--margin has no effect without"),
        ({"subject": True, "resolution": "768"}, "--resolution has no effect without --aspect"),
        ({"subject": True, "backend": "onnx"}, "needs a network"),
        ({"subject": True, "backend": "flat", "model": "m.onnx"}, "--model has no effect with"),
    ],
)
def test_options_that_do_not_fit_are_one_line(given: dict[str, Any], said: str):
    with pytest.raises(UserError, match=said):
        options(**given)


def test_frames_go_first_and_boxes_are_those_of_the_original():
    inner = figure().convert("RGB")
    flat = np.asarray(skimage.data.coffee())
    picture = Image.new("RGB", (700, 500), "black")
    picture.paste(Image.fromarray(flat), (50, 50))
    (made,) = cut(picture, options(borders=True), Eyes())
    assert made.box == (50, 50, 650, 450)
    assert made.facts["framed"] is True
    (made,) = cut(picture, options(borders=True, aspect="1:1"), Eyes())
    assert made.box == (150, 50, 550, 450)
    (made,) = cut(inner, options(borders=True), Eyes())
    assert made.box == (0, 0, *inner.size)
    assert made.facts["framed"] is False


@pytest.mark.parametrize("seen", [(), (FACE,)])
def test_a_tall_subject_keeps_its_head_where_the_shape_cuts_it(seen):
    """B2: 2:3 of a narrow picture of a standing figure takes feet away, not the head."""
    tall = figure().crop((90, 0, 210, 560))
    heads = [(left - 90, top, right - 90, bottom) for left, top, right, bottom in seen]
    seeing_them = Eyes(subject.opened("alpha"), seeing(*heads))
    (made,) = cut(tall, options(subject=True, aspect="2:3"), seeing_them)
    assert made.box == (0, 40 - 24, 120, 16 + 180)  # above the head the margin: 5 % of 480
    assert made.facts["cut_by_aspect"] is True
    (made,) = cut(tall, options(subject=True, aspect="1:5"), seeing_them)
    assert "cut_by_aspect" not in made.facts


def test_subjects_that_a_shape_cuts_are_named(tmp_path: Path, capsys):
    (tmp_path / "in").mkdir()
    figure().save(tmp_path / "in" / "wide.png")
    figure().crop((90, 0, 210, 560)).save(tmp_path / "in" / "tall.png")
    words = ["--subject", "--backend", "alpha", "--aspect", "1:2", "--executor", "serial"]
    assert main(["prepare", "crop", str(tmp_path / "in"), *words]) == 0
    assert "1 subject was cut by --aspect: tall.png" in "".join(capsys.readouterr())


def test_the_command_makes_a_folder_and_names_what_it_skipped(tmp_path: Path, capsys):
    """B2 through the command line: a list of boxes, captions carried, one picture not listed."""
    folder = tmp_path / "in"
    folder.mkdir()
    Image.fromarray(skimage.data.astronaut()).save(folder / "a.png")
    Image.fromarray(skimage.data.cat()).save(folder / "b.png")
    (folder / "a.txt").write_text("an astronaut")
    (tmp_path / "l.csv").write_text("a.png,100,0,200,200\na.png,0,0,50%,50%\n")
    words = ["prepare", "crop", str(folder), "--boxes", str(tmp_path / "l.csv")]
    assert main([*words, "--executor", "serial"]) == 0
    said = "".join(capsys.readouterr())
    assert "is not in" in said
    assert "b.png" in said
    out = tmp_path / "in-crop"
    made = sorted(p.name for p in out.glob("a*"))
    assert len(made) == 4  # two pictures, each with the caption
    assert {p.read_text() for p in out.glob("*.txt")} == {"an astronaut"}
    rows = [json.loads(r) for r in (out / ".renma" / "made.jsonl").read_text().splitlines()]
    assert [o["box"] for o in rows[0]["outputs"]] == [[100, 0, 300, 200], [0, 0, 256, 256]]
    (tmp_path / "l.csv").write_text("c.png,100,0,200,200\n")
    assert main([*words, "--executor", "serial"]) == 2
    assert "there is no picture 'c.png'" in "".join(capsys.readouterr())


@pytest.mark.skipif(not SPRITES.is_dir(), reason="needs the sprites of renpy-thequestion")
def test_sprites_are_cut_below_the_face(tmp_path: Path):
    """Drawn figures: a bust holds the head, is shorter than a thigh cut, and both are narrower."""
    for name in ("sylvie blue normal.png", "sylvie green smile.png"):
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / name).write_bytes((SPRITES / name).read_bytes())
    chosen = {"folder": tmp_path / "in", "out": tmp_path / "out", "executor": "serial"}
    run(CropOptions.model_validate({**chosen, "body": ("bust", "thigh")}), Silent())
    rows = (tmp_path / "out" / ".renma" / "made.jsonl").read_text().splitlines()
    for row in map(json.loads, rows):
        bust, thigh = row["outputs"]
        assert bust["facts"]["head"] == "face"
        # 700 pixels to the knees: the head ends at about 170, the breast at about 260
        assert 220 <= bust["box"][3] <= 360
        assert 480 <= thigh["box"][3] <= 700
        assert bust["box"][1] <= 10
