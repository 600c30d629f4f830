"""Copies: turned without empty corners, recoloured in the right terms, reproducible (B8)."""

from __future__ import annotations

import colorsys
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
import skimage.transform
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from renma.config.prepare.augment import AugmentOptions
from renma.core import keyed
from renma.core.errors import UserError
from renma.prepare import sides
from renma.prepare.augment import copies, drawn_shift, random_part, run, spread_parts
from renma.prepare.colors import LUMA, Shift, shifted
from renma.prepare.turn import inscribed, turned

SIDES = st.integers(1, 400)


class Lines:
    """A report that keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def event(self, kind: str, **data: object) -> None:
        if kind == "warned":
            self.lines.append(str(data["text"]))

    def line(self, text: str) -> None:
        self.lines.append(text)


def options(**given: Any) -> AugmentOptions:
    return AugmentOptions.model_validate({"folder": Path("pictures"), **given})


def noise(size: tuple[int, int], mode: str = "RGB", seed: int = 0) -> Image.Image:
    shape = (size[1], size[0], len(mode))
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


def best_by_search(width: float, height: float, degrees: float) -> float:
    """The largest area, searched: a rectangle fits if its corners, turned back, lie in the picture.

    For a width w the corners allow heights h with w cos + h sin <= W and w sin + h cos <= H.
    """
    sine, cosine = abs(math.sin(math.radians(degrees))), abs(math.cos(math.radians(degrees)))
    # fine steps also where one side is a hundredth of the other
    spans = (math.hypot(width, height), max(width, height), min(width, height))
    tried = np.concatenate([np.linspace(1e-9, span, 40_001) for span in spans])
    room = np.full_like(tried, np.inf)
    if sine > 1e-12:
        room = np.minimum(room, (width - tried * cosine) / sine)
    else:
        room[tried > width] = -1
    if cosine > 1e-12:
        room = np.minimum(room, (height - tried * sine) / cosine)
    else:
        room[tried > height] = -1
    return float((tried * np.maximum(room, 0)).max())


@settings(max_examples=80)
@given(SIDES, SIDES, st.floats(-180, 180))
def test_the_inscribed_rectangle_is_the_largest(width: int, height: int, degrees: float):
    found = inscribed((width, height), degrees)
    sine, cosine = abs(math.sin(math.radians(degrees))), abs(math.cos(math.radians(degrees)))
    assert found[0] * cosine + found[1] * sine <= width * (1 + 1e-9)
    assert found[0] * sine + found[1] * cosine <= height * (1 + 1e-9)
    best = best_by_search(width, height, degrees)
    assert math.prod(found) >= best * (1 - 1e-6)
    assert math.prod(found) <= best * (1 + 2e-3)  # the search steps past the best


def test_inscribed_at_worked_angles():
    assert inscribed((300, 200), 0) == (300, 200)
    assert inscribed((300, 200), 90) == pytest.approx((200, 300))
    # a square turned by 45 degrees holds one of half its area
    assert math.prod(inscribed((100, 100), 45)) == pytest.approx(5000)


@settings(max_examples=60)
@given(st.integers(1, 90), st.integers(1, 90), st.floats(-45, 45), st.sampled_from(["RGB", "RGBA"]))
def test_turned_pictures_have_no_empty_corner(width: int, height: int, degrees: float, mode: str):
    """What lies beyond a picture is black and clear; no trace of it is in a white one."""
    white = Image.new(mode, (width, height), "white")
    made = turned(white, degrees)
    assert np.asarray(made).min() == 255
    expected = [max(1, math.floor(side + 1e-6)) for side in inscribed((width, height), degrees)]
    assert [*made.size] == expected


@pytest.mark.parametrize("degrees", [7.0, -12.5, 30.0])
def test_turning_agrees_with_scikit_image(degrees: float):
    photo = skimage.data.astronaut()[:301, :401]
    made = np.asarray(turned(Image.fromarray(photo), degrees)).astype(float)
    whole = skimage.transform.rotate(photo, degrees, order=3) * 255  # same size, same middle
    height, width = made.shape[:2]
    top, left = (301 - height) / 2, (401 - width) / 2
    # where the middles lie half a pixel apart, the mean of both neighbours
    rows = [math.floor(top), math.ceil(top)]
    columns = [math.floor(left), math.ceil(left)]
    near = np.stack([whole[r : r + height, c : c + width] for r in rows for c in columns])
    assert np.abs(made - near.mean(axis=0)).mean() < 4
    other = skimage.transform.rotate(photo, -degrees, order=3) * 255
    assert np.abs(made - other[rows[0] : rows[0] + height, columns[0] :][:, :width]).mean() > 20


def test_no_turn_changes_nothing_and_four_right_ones_neither():
    picture = noise((31, 22))
    assert turned(picture, 0).tobytes() == picture.tobytes()
    quarter = np.asarray(turned(picture, 90)).astype(int)  # counter-clockwise, as Pillow turns
    assert np.abs(quarter - picture.transpose(Image.Transpose.ROTATE_90)).max() <= 1


@given(st.sampled_from(["RGB", "RGBA"]))
def test_no_shift_is_the_identity(mode: str):
    picture = noise((40, 30), mode)
    assert shifted(picture, Shift()).tobytes() == picture.tobytes()


def light(picture: Image.Image) -> np.ndarray:
    stored = np.asarray(picture.convert("RGB")) / 255.0
    return np.where(stored <= 0.04045, stored / 12.92, ((stored + 0.055) / 1.055) ** 2.4)


def test_a_stop_doubles_the_light():
    picture = Image.fromarray(np.asarray(noise((40, 30))) // 2)
    twice = light(shifted(picture, Shift(brightness=1)))
    assert np.abs(twice - 2 * light(picture)).max() < 0.01
    half = light(shifted(picture, Shift(brightness=-1)))
    assert np.abs(half - light(picture) / 2).max() < 0.005


@settings(max_examples=30)
@given(st.floats(-180, 180), st.floats(0, 1.3))
def test_hue_and_saturation_keep_light_and_grey(hue: float, saturation: float):
    soft = Image.fromarray((np.asarray(noise((20, 20))) // 10 + 110).astype(np.uint8))
    before, after = light(soft) @ LUMA, light(shifted(soft, Shift(hue=hue, saturation=saturation)))
    assert np.abs(after @ LUMA - before).max() < 0.006
    grey = Image.fromarray(np.repeat(np.arange(256, dtype=np.uint8)[:, None, None], 3, 2))
    same = np.asarray(shifted(grey, Shift(hue=hue, saturation=saturation))).astype(int)
    assert np.abs(same - np.asarray(grey)).max() <= 1


def test_hue_turns_the_way_the_circle_goes():
    """From red towards green, as HSV counts; an independent conversion reads it back."""
    soft = Image.new("RGB", (2, 2), (140, 110, 110))
    for degrees in (60, 120, 240):
        pixel = np.asarray(shifted(soft, Shift(hue=degrees)))[0, 0] / 255
        red, green, blue = map(float, pixel)
        assert colorsys.rgb_to_hsv(red, green, blue)[0] * 360 == pytest.approx(degrees, abs=12)


def test_contrast_gamma_and_saturation_by_hand():
    picture = noise((50, 40))
    stored = np.asarray(picture) / 255.0
    flat = np.asarray(shifted(picture, Shift(contrast=0.5)))
    assert np.abs(flat - (stored.mean() + 0.5 * (stored - stored.mean())) * 255).max() <= 1
    bent = np.asarray(shifted(picture, Shift(gamma=1.5)))
    assert np.abs(bent - stored**1.5 * 255).max() <= 1
    grey = np.asarray(shifted(picture, Shift(saturation=0)))
    assert (np.ptp(grey, axis=2) == 0).all()
    assert np.abs(light(Image.fromarray(grey))[..., 0] - light(picture) @ LUMA).max() < 0.006


def test_opacity_stays_and_hidden_pixels_do_not_weigh():
    picture = noise((20, 20), "RGBA")
    shift = Shift(brightness=0.3, contrast=1.2, hue=20)
    assert shifted(picture, shift).getchannel("A").tobytes() == picture.getchannel("A").tobytes()
    hidden = np.zeros((10, 20, 4), np.uint8)
    hidden[:, :10] = (200, 100, 100, 255)
    other = hidden.copy()
    other[:, 10:, :3] = 255
    a, b = (np.asarray(shifted(Image.fromarray(p), shift))[:, :10] for p in (hidden, other))
    assert (a == b).all()


@settings(max_examples=60)
@given(st.integers(1, 500), st.integers(1, 500), st.floats(0.05, 0.99), st.integers(0, 999))
def test_random_parts_lie_inside_and_are_as_large_as_told(width, height, least, seed):
    left, top, right, bottom = random_part((width, height), least, keyed.rng(seed, "t"))
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height
    assert right - left >= width * least
    assert bottom - top >= height * least
    assert right - left < width * (1 - 0.09 * (1 - least)) + 1


@settings(max_examples=40)
@given(st.integers(100, 900), st.integers(100, 900), st.integers(1, 6), st.integers(0, 99))
def test_parts_of_large_pictures(width: int, height: int, count: int, seed: int):
    chosen = options(crops=count, crop_size="120x100")
    found = spread_parts((width, height), chosen, keyed.rng(seed, "t"))
    large = width >= 180 and height >= 150
    assert len(found) == (count if large else 0)
    for left, top, right, bottom in found:
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
        assert right - left >= 120
        assert bottom - top >= 100
        assert abs((right - left) / (bottom - top) - 1.2) < 0.02


def test_two_parts_of_a_very_large_picture_do_not_overlap():
    for seed in range(20):
        chosen = options(crops=2, crop_size="100x100")
        one, other = spread_parts((1200, 1200), chosen, keyed.rng(seed, "t"))
        apart = one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
        assert apart


@given(st.integers(0, 10_000))
def test_draws_stay_within_what_is_allowed_and_differ_from_nothing(seed: int):
    chosen = options(brightness=0.5, contrast=0.2, saturation=1, hue=10, gamma=0.1)
    shift = drawn_shift(chosen, keyed.rng(seed, "t"))
    assert 0.125 <= abs(shift.brightness) <= 0.5
    assert 0.05 - 1e-9 <= abs(shift.contrast - 1) <= 0.2 + 1e-9
    assert 0 <= shift.saturation <= 2
    assert 2.5 <= abs(shift.hue) <= 10
    assert 0.025 - 1e-9 <= abs(shift.gamma - 1) <= 0.1 + 1e-9
    only = drawn_shift(options(hue=10), keyed.rng(seed, "t"))
    assert only == Shift(hue=shift.hue)  # the others draw beside it, not before it


def test_copies_follow_from_seed_and_picture_alone():
    chosen = options(rotate=10, random_crop=0.7, hue=10, crops=1, crop_size="20x20", count=2)
    picture = noise((90, 70))

    def made(options: AugmentOptions, digest: str) -> dict[str, bytes]:
        found = copies(picture, options, digest, flip=False)
        return {each.suffix: each.picture.tobytes() for each in found}

    once = made(chosen, "one")
    assert once == made(chosen, "one")
    assert {*once} == {"-turn1", "-part1", "-color1", "-turn2", "-part2", "-color2", "-crop1"}
    assert len({*once.values()}) == len(once)
    for other in (made(chosen, "two"), made(chosen.model_copy(update={"seed": 1}), "one")):
        assert all(once[name] != other[name] for name in once)
    # more copies, or another kind of them, leave the first ones as they are
    more = made(chosen.model_copy(update={"count": 3, "random_crop": 0.0}), "one")
    assert all(more[name] == data for name, data in once.items() if "part" not in name)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("1girl, looking left, Right hand up", "1girl, looking right, Left hand up"),
        ("left_arm, hand_on_own_right_hip", "right_arm, hand_on_own_left_hip"),
        ("LEFT-handed, leftmost, rightwards", "RIGHT-handed, rightmost, leftwards"),
        ("左目, 右手", "右目, 左手"),
        ("bright, upright, cleft chin, copyright, lefty", "bright, upright, cleft chin, copyright, lefty"),
    ],
)  # fmt: skip
def test_left_and_right_change_places(before: str, after: str):
    assert sides.swapped(before) == after
    assert sides.names_side(before) == (before != after)


@given(
    st.lists(st.sampled_from(["left", "Right", "LEFT", "左", "bright", "arm", ", ", "_", "-", "x"]))
)
def test_swapping_twice_is_nothing(words: list[str]):
    text = "".join(words)
    assert sides.swapped(sides.swapped(text)) == text


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    for index, name in enumerate(("a", "b")):
        noise((64, 48), seed=index).save(tmp_path / "in" / f"{name}.png")
    (tmp_path / "in" / "a.txt").write_bytes("looking left, 猫\r\n".encode("cp932"))
    (tmp_path / "in" / "b.txt").write_text("1girl")
    return tmp_path / "in"


def _run(folder: Path, **given: Any) -> tuple[Path, list[str]]:
    report = Lines()
    out = folder.parent / "out"
    run(options(folder=folder, out=out, executor="serial", **given), report)
    return out, report.lines


def test_mirrored_copies_get_mirrored_captions_and_stay_attached(folder: Path):
    out, lines = _run(folder, flip=True)
    assert {p.name for p in out.glob("*.png")} == {"a.png", "a-flip.png", "b.png", "b-flip.png"}
    whole, mirrored = (np.asarray(Image.open(out / n)) for n in ("a.png", "a-flip.png"))
    assert (whole[:, ::-1] == mirrored).all()
    assert (whole == np.asarray(Image.open(folder / "a.png"))).all()
    assert (out / "a.txt").read_bytes() == (folder / "a.txt").read_bytes()
    assert (out / "a-flip.txt").read_bytes() == "looking right, 猫\r\n".encode()
    assert (out / "b-flip.txt").read_bytes() == b"1girl"
    assert any("not symmetric" in line for line in lines)
    # again: nothing is taken for an edit by hand; a changed original comes through
    (folder / "a.txt").write_text("right eye")
    _, lines = _run(folder, flip=True)
    assert "0 worked on now" in " ".join(lines)
    assert (out / "a-flip.txt").read_text() == "left eye"
    assert not any("edited" in line for line in lines)


def test_pictures_with_sides_can_be_left_unmirrored_or_their_captions_alone(folder: Path):
    out, lines = _run(folder, flip=True, flip_captions="skip")
    assert {p.name for p in out.glob("*.png")} == {"a.png", "b.png", "b-flip.png"}
    assert "1 picture not mirrored" in " ".join(lines)
    (folder / "a.txt").write_text("a girl")
    out, lines = _run(folder, flip=True, flip_captions="skip")
    assert (out / "a-flip.png").exists()
    (folder / "a.txt").write_text("looking left")
    out, _ = _run(folder, flip=True, flip_captions="keep")
    assert (out / "a-flip.txt").read_text() == "looking left"


def test_only_copies_where_the_pictures_are_not_wanted(folder: Path):
    noise((20, 20)).save(folder / "small.png")
    out, lines = _run(folder, crops=1, crop_size="30x30", copies_only=True)
    assert {p.name for p in out.glob("*.png")} == {"a-crop1.png", "b-crop1.png"}
    assert "small.png" in " ".join(lines)
    rows = (out / ".renma" / "made.jsonl").read_text().splitlines()
    box = json.loads(rows[0])["outputs"][0]["box"]
    part = np.asarray(Image.open(folder / "a.png"))[box[1] : box[3], box[0] : box[2]]
    assert (part == np.asarray(Image.open(out / "a-crop1.png"))).all()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "nothing says what copies to make"),
        ({"flip": True, "count": 2}, "--count has no effect without"),
        ({"rotate": 5, "crop_size": "64"}, "--crop-size has no effect without --crops"),
        ({"rotate": 5, "flip_captions": "skip"}, "--flip-captions has no effect without --flip"),
        ({"flip": True, "seed": 4}, "--seed has no effect"),
    ],
)
def test_options_that_do_not_fit_are_one_line(given: dict[str, Any], said: str):
    with pytest.raises(UserError, match=said):
        options(**given)
