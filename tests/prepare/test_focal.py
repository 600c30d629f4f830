"""The cut-out around what draws the eye: points, weights, laws (row B4)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from renma.config.prepare.focal import FocalOptions
from renma.core.errors import UserError
from renma.core.events import Silent
from renma.data.pictures import read_rgb, read_straight
from renma.prepare import focus
from renma.prepare.faces import Face
from renma.prepare.focal import cut, drawn, looked, run

HERE = Path()
SIZES = st.tuples(st.integers(16, 300), st.integers(16, 300))


def options(folder: Path = HERE, **changes: object) -> FocalOptions:
    given = {"folder": folder, "executor": "serial", "face_weight": 0.0, **changes}
    return FocalOptions.model_validate(given)


def squares(width: int, height: int, *places: tuple[int, int], side: int = 12) -> Image.Image:
    """Returns grey with dark squares at these middles."""
    values = np.full((height, width, 3), 200, np.uint8)
    for x, y in places:
        values[y - side // 2 : y + side // 2, x - side // 2 : x + side // 2] = 20
    return Image.fromarray(values)


def noisy(seed: int, width: int, height: int) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(values)


@given(arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40))))
def test_entropy_is_shannons(grey: np.ndarray) -> None:
    measure = pytest.importorskip("skimage.measure")
    assert focus.entropy(grey) == pytest.approx(measure.shannon_entropy(grey), abs=1e-9)


def test_the_richest_part_by_an_independent_search() -> None:
    measure = pytest.importorskip("skimage.measure")
    rng = np.random.default_rng(3)
    # each column has as many shades as its own draw gives it
    shades = np.repeat(rng.integers(1, 200, 60), 2)
    values = np.stack([rng.integers(0, high, 40) for high in shades], axis=1).astype(np.uint8)
    rgb = np.repeat(values[:, :, None], 3, axis=2)
    ((x, y),) = focus.richest(rgb, (40, 40))
    bits = [measure.shannon_entropy(values[:, left : left + 40]) for left in range(81)]
    assert (x, y) == (int(np.argmax(bits)) + 20, 20)
    ((x, y),) = focus.richest(rgb.transpose(1, 0, 2), (40, 40))
    assert (x, y) == (20, int(np.argmax(bits)) + 20)


def test_a_square_and_a_plain_picture_have_no_richest_part_but_the_middle() -> None:
    assert focus.richest(np.asarray(noisy(0, 50, 50)), (50, 50)) == []
    plain = np.full((30, 90, 3), 9, np.uint8)
    assert focus.richest(plain, (30, 30)) == [(45, 15)]


def test_corners_of_a_square_are_around_it() -> None:
    found = focus.corners(np.asarray(squares(200, 100, (60, 40), side=40)))
    assert len(found) == 4
    corners = {(40, 20), (80, 20), (40, 60), (80, 60)}
    for x, y in found:
        assert min(abs(x - a) + abs(y - b) for a, b in corners) <= 3


def test_a_watermark_draws_nothing_and_leaves_no_corner_of_its_own() -> None:
    marked = np.asarray(squares(200, 200, (180, 190), (150, 192), side=8))
    assert focus.corners(marked) == []
    assert focus.corners(np.full((200, 200, 3), 30, np.uint8)) == []


def test_weights_in_figures() -> None:
    sets = {"face": [(10.0, 20.0), (30.0, 20.0)], "corner": [(100.0, 60.0)], "entropy": []}
    weights = {"face": 0.9, "corner": 0.3, "entropy": 0.5}
    found = focus.weighed(sets, weights, (200, 100))
    # entropy found nothing: its weight goes to the others, 3/4 and 1/4
    assert found.point == pytest.approx((0.75 * 20 + 0.25 * 100, 0.75 * 20 + 0.25 * 60))
    assert set(found.sets) == {"face", "corner"}
    assert focus.weighed({"face": []}, {"face": 1.0}, (200, 100)).point == (100, 50)


@settings(max_examples=25)
@given(SIZES, st.tuples(st.integers(1, 200), st.integers(1, 200)), st.integers(0, 9))
def test_the_size_is_exact_and_the_frame_inside(size, aim, seed) -> None:
    picture = noisy(seed, *size)
    made, found = cut(picture, None, options(size=f"{aim[0]}x{aim[1]}"))
    assert made.picture.size == aim
    assert made.box is not None
    left, top, right, bottom = made.box
    assert 0 <= left <= right <= size[0]
    assert 0 <= top <= bottom <= size[1]
    assert right - left >= size[0] - 1 or bottom - top >= size[1] - 1  # as much as there is
    assert 0 <= found.point[0] <= size[0]
    assert 0 <= found.point[1] <= size[1]


@settings(max_examples=15)
@given(st.integers(20, 380), st.integers(20, 160), st.sampled_from(["corner", "entropy"]))
def test_a_mirrored_picture_has_the_mirrored_focus(x: int, y: int, kind: str) -> None:
    picture = squares(400, 200, (x, y))
    weights = {"face": 0.0, "corner": 0.0, "entropy": 0.0, kind: 1.0}
    one = looked(picture, (200, 200), None, weights)
    other = looked(picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT), (200, 200), None, weights)
    assert kind in one.sets
    assert one.point[0] == pytest.approx(400 - other.point[0], abs=2)
    assert one.point[1] == pytest.approx(other.point[1], abs=2)


def test_a_larger_picture_has_the_same_focus() -> None:
    weights = {"face": 0.0, "corner": 1.0, "entropy": 0.5}
    small = squares(400, 200, (310, 60), (280, 90), side=20)
    large = small.resize((1600, 800), Image.Resampling.BICUBIC)
    one, other = (looked(each, (200, 200), None, weights).point for each in (small, large))
    assert (other[0] / 4, other[1] / 4) == pytest.approx(one, abs=6)
    made, _ = cut(large, None, options(size="200x200"))
    assert made.box is not None
    assert made.box[0] / 4 <= 280 <= 310 <= made.box[2] / 4


def test_a_face_draws_the_cutout_to_its_eyes() -> None:
    face = Face((300, 60, 360, 120), 0.9, None, "told")
    picture = squares(400, 200, (20, 40))
    made, found = cut(picture, lambda rgb: [face], options(size="200x200", face_weight=1.0,
                                                          corner_weight=0, entropy_weight=0))  # fmt: skip
    assert found.point == (330, 80)
    assert made.box == (200, 0, 400, 200)
    assert made.facts["by"] == "face"
    both, _ = cut(picture, lambda rgb: [face], options(size="200x200", face_weight=0.5))
    assert both.box is not None
    assert 0 < both.box[0] < 200  # drawn to both


def test_small_pictures_are_enlarged_or_named() -> None:
    made, _ = cut(noisy(1, 40, 90), None, options(size="64x64"))
    assert (made.picture.size, made.facts["enlarged"]) == ((64, 64), True)
    with pytest.raises(UserError, match="40x90 pixels, less than 64x64"):
        cut(noisy(1, 40, 90), None, options(size="64x64", small="skip"))


def test_transparency_stays() -> None:
    picture = squares(300, 200, (60, 60)).convert("RGBA")
    picture.putalpha(Image.linear_gradient("L").resize((300, 200)))
    made, _ = cut(picture, None, options(size="100x100"))
    assert made.picture.mode == "RGBA"
    assert np.asarray(made.picture)[..., 3].std() > 10


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"corner_weight": 0, "entropy_weight": 0}, "all three weights are 0"),
        ({"detector": "haar"}, "--detector has no effect with --face-weight 0"),
    ],
)
def test_options_that_do_not_fit_together(changes: dict, said: str) -> None:
    with pytest.raises(UserError, match=said):
        options(**changes)


def test_a_folder_with_its_overlays(tmp_path: Path) -> None:
    folder, shown = tmp_path / "set", tmp_path / "shown"
    folder.mkdir()
    picture = squares(400, 200, (310, 60))
    picture.save(folder / "one.png")
    run(options(folder, size="128x128", overlay=shown), Silent())
    assert read_straight(tmp_path / "set-focal" / "one.png").size == (128, 128)
    overlay = read_rgb(shown / "one.png")
    assert overlay.shape == (200, 400, 3)
    assert (overlay != np.asarray(picture)).any()
    _, found = cut(picture, None, options(size="128x128"))
    drawing = np.asarray(drawn(picture, found, (200, 0, 400, 200)))
    assert tuple(drawing[0, 300]) == (40, 210, 90)  # the frame's upper edge
    assert tuple(drawing[0, 100]) == (200, 200, 200)
    with pytest.raises(UserError, match="within a folder of pictures"):
        run(options(folder, overlay=folder / "shown"), Silent())


def test_a_transparent_picture_gets_no_rims_of_another_colour() -> None:
    """One colour on nothing stays that colour; Pillow's own alpha weighting makes it lighter."""
    picture = Image.new("RGBA", (300, 200), (0, 0, 0, 0))
    picture.paste((150, 80, 40, 255), (60, 50, 240, 170))
    made, _ = cut(picture, None, options(size="71x71"))
    values = np.asarray(made.picture).astype(int)
    visible = values[values[..., 3] > 0][:, :3]
    assert np.abs(visible - (150, 80, 40)).max() <= 1
    before = np.asarray(picture.resize((71, 71), Image.Resampling.LANCZOS, made.box)).astype(int)
    assert np.abs(before[before[..., 3] > 0][:, :3] - (150, 80, 40)).max() > 1  # what it was
