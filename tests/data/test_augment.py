"""Augmentation: keyed, without empty corners, colours as their definition has them (B8)."""

from __future__ import annotations

import colorsys
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from renma.config.data import Dataset, Subset
from renma.data.augment import Augment, draw, is_cacheable, largest_angle, turned
from renma.data.buckets import Fit, fit
from renma.data.item import Item
from renma.data.pixels import load_fitted, shift_hue

PLAIN = Dataset(resolution=(64, 64))
BUCKETS = Dataset(
    resolution=(64, 64),
    enable_bucket=True,
    min_bucket_reso=32,
    max_bucket_reso=128,
    bucket_reso_steps=32,
)


def item(width: int, height: int, name: str = "a.png", **options) -> Item:
    return Item(Path(name), width, height, "", True, Subset(image_dir="x", **options), "d")


def drawn(one: Item, dataset: Dataset = PLAIN, position: int = 0, epoch: int = 0) -> Augment:
    found = fit(one.width, one.height, dataset)
    return draw(one, dataset, found, 7, epoch, position, flip=False)


EVERY = {"color_aug": True, "random_crop": True, "rotate_degrees": 30}


def test_a_showing_looks_the_same_whenever_it_is_asked_for():
    one = item(400, 300, **EVERY)
    looks = [drawn(one, position=p) for p in range(50)]
    assert [drawn(one, position=p) for p in reversed(range(50))] == looks[::-1]
    assert len(set(looks)) == 50
    assert drawn(one, position=3, epoch=1) != looks[3]


def test_one_option_more_leaves_the_other_draws_alone():
    turned_ones = [drawn(item(400, 300, rotate_degrees=20), position=p) for p in range(40)]
    both = [drawn(item(400, 300, rotate_degrees=20, color_aug=True), position=p) for p in range(40)]
    assert [look.angle for look in both] == [look.angle for look in turned_ones]
    assert [look.fit for look in both] == [look.fit for look in turned_ones]


@pytest.mark.parametrize(
    ("options", "size", "dataset", "cached"),
    [
        ({}, (90, 64), PLAIN, True),
        ({"flip_aug": True}, (90, 64), PLAIN, True),
        ({"color_aug": True}, (64, 64), PLAIN, False),
        ({"random_crop": True}, (90, 64), PLAIN, False),
        ({"random_crop": True}, (64, 64), PLAIN, True),
        ({"random_crop": True}, (128, 128), PLAIN, False),  # at full size there is room
        ({"random_crop": True}, (128, 128), BUCKETS, True),
        ({"random_crop": True}, (128, 100), BUCKETS, False),
        ({"rotate_degrees": 10}, (256, 256), PLAIN, False),
        ({"rotate_degrees": 10}, (64, 64), PLAIN, True),  # turning would enlarge it
        ({"face_crop_aug_range": (2, 4)}, (256, 256), PLAIN, True),
    ],
)
def test_latents_are_cached_where_all_showings_look_alike(options, size, dataset, cached: bool):
    one = item(*size, **options)
    assert is_cacheable(one, dataset, fit(*size, dataset)) == cached
    looks = {drawn(one, dataset, p) for p in range(20)}
    assert (len(looks) == 1) == cached


def test_a_random_crop_reaches_every_place_equally_often():
    """With buckets the overhang moves, along one axis only."""
    one = item(96, 60, random_crop=True)
    found = fit(96, 60, BUCKETS)
    lefts = [drawn(one, BUCKETS, p).fit.crop for p in range(2000)]
    slack = found.resized[0] - found.width, found.resized[1] - found.height
    assert max(slack) > 0
    for axis in (0, 1):
        counts = np.bincount([crop[axis] for crop in lefts], minlength=slack[axis] + 1)
        assert len(counts) == slack[axis] + 1
        assert counts.min() > 0.5 * 2000 / len(counts)


def test_without_buckets_a_random_crop_is_of_the_picture_at_full_size():
    looks = [drawn(item(200, 100, random_crop=True), position=p) for p in range(500)]
    assert {look.fit.resized for look in looks} == {(200, 100)}
    assert max(look.fit.crop[0] for look in looks) > 125
    assert max(look.fit.crop[1] for look in looks) == 36
    small = drawn(item(200, 40, random_crop=True))
    assert small.fit.resized == (320, 64)


FACE = "name_150_60_40_20.png"  # middle (150, 60), 40 x 20


def test_faces_fill_their_share_and_are_in_the_middle():
    """The face is 1/b to 1/a of the short side, never enlarged."""
    one = item(400, 300, FACE, face_crop_aug_range=(2.0, 4.0))
    shares = []
    for position in range(400):
        cut = drawn(one, position=position).fit
        scale = cut.resized[0] / 400
        assert scale <= 1
        shares.append(40 * scale / 64)
        for axis, at in ((0, 150), (1, 60)):
            room = cut.resized[axis] - 64
            if 2 < cut.crop[axis] < room - 2:
                assert abs(cut.crop[axis] + 32 - at * scale) <= 40 * scale / 20 + 1
            assert 0 <= cut.crop[axis] <= room
    assert min(shares) == pytest.approx(0.25, abs=0.02)
    assert max(shares) == pytest.approx(0.5, abs=0.02)


def test_faces_are_left_alone_with_buckets_and_in_other_names():
    for dataset, name in ((BUCKETS, FACE), (PLAIN, "a_1_2_3.png")):
        one = item(400, 300, name, face_crop_aug_range=(2.0, 4.0))
        assert drawn(one, dataset) == Augment(fit(400, 300, dataset))


@given(
    size=st.tuples(st.integers(40, 900), st.integers(40, 900)),
    limit=st.sampled_from([3.0, 15.0, 45.0]),
    position=st.integers(0, 50),
    options=st.sampled_from([{}, {"random_crop": True}]),
    dataset=st.sampled_from([PLAIN, BUCKETS]),
)
def test_a_turned_part_lies_inside_and_is_never_enlarged(size, limit, position, options, dataset):
    one = item(*size, rotate_degrees=limit, **options)
    look = drawn(one, dataset, position)
    cut = look.fit
    assert abs(look.angle) <= limit
    if look.angle:
        assert cut.resized[0] <= size[0]
        assert cut.resized[1] <= size[1]
    # corners of the outermost pixel middles, turned about the middle of the part
    c, s = math.cos(math.radians(look.angle)), math.sin(math.radians(look.angle))
    for dx in (-1, 1):
        for dy in (-1, 1):
            x, y = dx * (cut.width - 1) / 2, dy * (cut.height - 1) / 2
            at = (
                cut.crop[0] + cut.width / 2 + c * x - s * y,
                cut.crop[1] + cut.height / 2 + s * x + c * y,
            )
            assert all(0 < at[a] < cut.resized[a] for a in (0, 1))


def test_small_pictures_turn_less():
    angles = [
        largest_angle(item(n, n, rotate_degrees=20), (64, 64), (64, 64)) for n in (64, 70, 99)
    ]
    assert angles[0] == 0
    assert 0 < angles[1] < angles[2] == 20
    box = turned((64, 64), angles[1])
    assert box[0] <= 70


@pytest.fixture
def white(tmp_path: Path) -> Path:
    Image.new("RGB", (150, 110), "white").save(tmp_path / "a.png")
    return tmp_path / "a.png"


@pytest.mark.parametrize("angle", [-45, -30, -7, 3, 11, 45])
def test_no_corner_is_empty(white: Path, angle: float):
    one = item(150, 110, str(white), rotate_degrees=45)
    limit = largest_angle(one, fit(150, 110, PLAIN).resized, (64, 64))
    assert limit == 45
    for position in range(3):
        look = drawn(one, position=position)
        assert load_fitted(one, look).rgb.min() == 255
    box = turned((64, 64), angle)
    resized = (max(91, math.ceil(box[0])), max(91, math.ceil(box[1])))
    cut = Fit(64, 64, resized, ((resized[0] - 64) // 2, (resized[1] - 64) // 2))
    assert load_fitted(one, Augment(cut, angle=angle)).rgb.min() == 255


def test_turning_is_counter_clockwise_about_the_middle(tmp_path: Path):
    """As Pillow turns the whole picture, then cut."""
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 255, (12, 16, 3), dtype=np.uint8))
    picture = small.resize((160, 120), Image.Resampling.BICUBIC)
    picture.save(tmp_path / "a.png")
    one = item(160, 120, str(tmp_path / "a.png"))
    found = load_fitted(one, Augment(Fit(64, 48, (160, 120), (48, 36)), angle=20.0)).rgb
    whole = picture.rotate(20, Image.Resampling.BICUBIC).crop((48, 36, 112, 84))
    assert np.abs(found.astype(int) - np.asarray(whole).astype(int)).max() <= 2


def test_a_mirrored_showing_is_the_mirror_image(tmp_path: Path):
    picture = Image.linear_gradient("L").resize((80, 60)).rotate(37).convert("RGB")
    picture.save(tmp_path / "a.png")
    one = item(80, 60, str(tmp_path / "a.png"))
    cut = Fit(32, 32, (80, 60), (30, 20))
    for angle in (0.0, 12.0):
        plain = load_fitted(one, Augment(cut, angle=angle)).rgb
        assert np.array_equal(load_fitted(one, Augment(cut, True, angle)).rgb, plain[:, ::-1])


@given(
    st.lists(st.tuples(*[st.integers(0, 255)] * 3), min_size=1, max_size=20), st.floats(-180, 180)
)
def test_hue_is_turned_as_python_turns_it(colours: list[tuple[int, int, int]], degrees: float):
    found = shift_hue(np.array(colours, np.uint8), degrees)
    for colour, shifted in zip(colours, found, strict=True):
        h, s, v = colorsys.rgb_to_hsv(*(channel / 255 for channel in colour))
        expected = [255 * channel for channel in colorsys.hsv_to_rgb((h + degrees / 360) % 1, s, v)]
        assert np.abs(shifted - np.array(expected)).max() <= 0.51 + 1e-3


def test_gamma_is_of_values_in_0_to_1(tmp_path: Path):
    """sd-scripts raises 0..255 to the power: 255 becomes 193 there, at gamma 0.95."""
    grey = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).convert("RGB")
    grey.save(tmp_path / "a.png")
    one = item(16, 16, str(tmp_path / "a.png"))
    cut = Fit(16, 16, (16, 16), (0, 0))
    for gamma in (0.95, 1.05):
        found = load_fitted(one, Augment(cut, gamma=gamma)).rgb[..., 0].reshape(-1)
        expected = [255 * (value / 255) ** gamma for value in range(256)]
        assert np.abs(found - np.array(expected)).max() <= 0.5
        assert (found[0], found[255]) == (0, 255)


def test_a_third_of_the_showings_is_coloured_one_way_or_the_other():
    looks = [drawn(item(64, 64, color_aug=True), position=p) for p in range(3000)]
    hues = [look.hue for look in looks if look.hue]
    gammas = [look.gamma for look in looks if look.gamma != 1]
    assert not any(look.hue and look.gamma != 1 for look in looks)
    assert 0.3 < (len(hues) + len(gammas)) / 3000 < 0.36
    assert 0.42 < len(hues) / (len(hues) + len(gammas)) < 0.58
    assert 15 < max(map(abs, hues)) <= 16
    assert 0.95 <= min(gammas) < 0.953
    assert 1.047 < max(gammas) <= 1.05


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("lanczos", "LANCZOS"), ("nearest", "NEAREST"), ("bilinear", "BILINEAR"),
        ("linear", "BILINEAR"), ("bicubic", "BICUBIC"), ("cubic", "BICUBIC"), ("area", "BOX"),
        ("box", "BOX"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("size", [(150, 150), (20, 20)], ids=["shrunk", "enlarged"])
def test_the_named_interpolation_is_used_both_ways(tmp_path: Path, name: str, kind: str, size):
    rng = np.random.default_rng(1)
    picture = Image.fromarray(rng.integers(0, 255, (*size, 3), dtype=np.uint8))
    picture.save(tmp_path / "a.png")
    one = item(*size, str(tmp_path / "a.png"), resize_interpolation=name)
    expected = picture.resize((64, 64), Image.Resampling[kind])
    assert np.array_equal(load_fitted(one, drawn(one)).rgb, np.asarray(expected))
