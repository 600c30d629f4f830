"""Sizes, transparency, light and files of ``renma prepare resize`` (B5, B9)."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from skimage.transform import downscale_local_mean

from renma.config.data import Dataset
from renma.config.prepare.resize import ResizeOptions
from renma.core.errors import UserError
from renma.core.events import Silent
from renma.data import buckets
from renma.prepare.resize import aimed, resample, resized, run

SIDES = st.one_of(st.integers(1, 40), st.integers(1, 3000))
AIMS = st.integers(1, 700)
FEW = settings(max_examples=60)


def options(**given: Any) -> ResizeOptions:
    given = {
        k: str(v) if k in {"size", "pixels", "buckets"} and isinstance(v, int) else v
        for k, v in given.items()
    }
    return ResizeOptions.model_validate({"folder": Path("pictures"), **given})


def noise(size: tuple[int, int], mode: str = "RGB", seed: int = 0) -> Image.Image:
    shape = (size[1], size[0], len(mode))
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


def nearest(exact: Fraction) -> set[int]:
    """Whole numbers that an exact side may become: at most half a pixel away, and at least one."""
    return {max(1, n) for n in (int(exact), int(exact) + 1) if abs(n - exact) <= Fraction(1, 2)}


def test_worked_examples():
    """400x300 and 300x400, computed by hand."""
    assert aimed((400, 300), options(size="200x200")) == (200, 150)
    assert aimed((400, 300), options(size="200x200", mode="cover")) == (267, 200)
    assert aimed((400, 300), options(size="200x200", mode="pad")) == (200, 150)
    assert aimed((400, 300), options(size="200x100", mode="stretch")) == (200, 100)
    assert aimed((300, 400), options(longest=100)) == (75, 100)
    assert aimed((300, 400), options(shortest=150)) == (150, 200)
    assert aimed((400, 100), options(pixels="100x100")) == (200, 50)


@FEW
@given(SIDES, SIDES, AIMS, AIMS)
def test_fit_stays_inside_and_cover_fills(width: int, height: int, aim_x: int, aim_y: int):
    scales = sorted([Fraction(aim_x, width), Fraction(aim_y, height)])
    for mode, scale in (("fit", scales[0]), ("pad", scales[0]), ("cover", scales[1])):
        found = aimed((width, height), options(size=(aim_x, aim_y), mode=mode))
        assert found[0] in nearest(width * scale)
        assert found[1] in nearest(height * scale)
        meets = [side == aim for side, aim in zip(found, (aim_x, aim_y), strict=True)]
        assert any(meets)
        for side, aim in zip(found, (aim_x, aim_y), strict=True):
            assert side >= aim if mode == "cover" else side <= aim


@FEW
@given(SIDES, SIDES, AIMS)
def test_side_lengths_and_area(width: int, height: int, aim: int):
    longest = aimed((width, height), options(longest=aim))
    shortest = aimed((width, height), options(shortest=aim))
    assert (max(longest), min(shortest)) == (aim, aim)
    assert min(longest) in nearest(Fraction(min(width, height) * aim, max(width, height)))
    area = aimed((width, height), options(pixels=(aim, aim)))
    # each side is rounded by half a pixel at most
    assert abs(area[0] * area[1] - aim * aim) <= (area[0] + area[1]) / 2 + max(area) + 1


@settings(max_examples=25)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 80), st.integers(1, 80))
def test_made_pictures_have_the_size_told(width: int, height: int, aim_x: int, aim_y: int):
    picture = noise((width, height))
    for mode in ("cover", "pad", "stretch"):
        assert resized(picture, options(size=(aim_x, aim_y), mode=mode)).size == (aim_x, aim_y)
    fit = resized(picture, options(size=(aim_x, aim_y)))
    assert fit.size == aimed(picture.size, options(size=(aim_x, aim_y)))
    small = resized(picture, options(size=(aim_x, aim_y), only_shrink=True))
    grows = fit.width > width or fit.height > height
    assert small.size == (picture.size if grows else fit.size)


def test_only_shrink_leaves_small_pictures_bit_by_bit_but_still_pads():
    picture = noise((60, 30))
    for aim in ({"size": "80x80"}, {"size": "40x40", "mode": "cover"}, {"longest": 61}):
        same = resized(picture, options(only_shrink=True, **aim))
        assert same.tobytes() == picture.tobytes()
    padded = resized(picture, options(size="80x80", mode="pad", only_shrink=True, color="#102030"))
    assert padded.size == (80, 80)
    assert padded.crop((10, 25, 70, 55)).tobytes() == picture.tobytes()
    assert padded.getpixel((9, 40)) == (0x10, 0x20, 0x30)


@pytest.mark.parametrize("size", [(3000, 2), (2, 3000), (1, 1), (1, 2999)])
def test_extreme_shapes_never_vanish(size: tuple[int, int]):
    picture = noise(size)
    for aim in ({"size": "64x64"}, {"longest": 64}, {"pixels": "64x64"}):
        assert min(resized(picture, options(**aim)).size) >= 1
    padded = resized(picture, options(size="64x64", mode="pad"))
    assert padded.size == (64, 64)


def test_a_size_beyond_reason_is_one_line():
    for aim in ({"shortest": 512}, {"size": "512x512", "mode": "cover"}):
        with pytest.raises(UserError, match="768000x512 pixels, more than"):
            resized(noise((3000, 2)), options(**aim))


@settings(max_examples=25)
@given(st.integers(8, 90), st.integers(8, 90), st.integers(1, 8))
def test_multiples_cut_the_middle(width: int, height: int, step: int):
    picture = noise((width, height))
    found = resized(picture, options(size=(width, height), multiple_of=step))
    wide, high = width - width % step, height - height % step
    left, top = width % step // 2, height % step // 2
    pixels = np.asarray(picture)[top : top + high, left : left + wide]
    assert (np.asarray(found) == pixels).all()


def test_less_than_a_multiple_is_skipped_not_filled_up():
    with pytest.raises(UserError, match="30x20 pixels then, less than --multiple-of 64"):
        resized(noise((30, 20)), options(longest=30, multiple_of=64))


@pytest.mark.parametrize("linear", [False, True])
@pytest.mark.parametrize("how", ["lanczos", "bicubic", "area"])
def test_hidden_colours_never_bleed(how: str, linear: bool):
    """What lies under transparent pixels is poison here; visible pixels must not know of it."""
    pixels = np.zeros((40, 40, 4), np.uint8)
    pixels[...] = (255, 0, 255, 0)
    pixels[10:30, 10:30] = (10, 200, 30, 255)
    small = np.asarray(resample(Image.fromarray(pixels), (13, 13), how, linear=linear)).astype(int)
    seen = small[..., 3] > 24
    assert seen.sum() > 20
    assert np.abs(small[seen][:, :3] - (10, 200, 30)).max() <= 1
    naive = np.asarray(Image.fromarray(pixels[..., :3]).resize((13, 13), Image.Resampling.BOX))
    assert np.abs(naive[seen].astype(int) - (10, 200, 30)).max() > 60


def test_linear_light_equals_an_independent_mean():
    """Halving by area: the mean of light as scikit-image computes it, stored as sRGB again."""
    picture = noise((48, 32))
    stored = np.asarray(picture) / 255.0
    light = np.where(stored <= 0.04045, stored / 12.92, ((stored + 0.055) / 1.055) ** 2.4)
    mean = downscale_local_mean(light, (2, 2, 1))
    wanted = np.where(mean <= 0.0031308, mean * 12.92, 1.055 * mean ** (1 / 2.4) - 0.055) * 255
    found = np.asarray(resample(picture, (24, 16), "area", linear=True))
    assert np.abs(found - wanted).max() <= 0.51
    plain = np.asarray(resample(picture, (24, 16), "area"))
    assert np.abs(plain - wanted).max() > 5
    assert (
        np.abs(plain - downscale_local_mean(stored, (2, 2, 1)) * 255).max() < 1.01
    )  # rounded twice


def test_a_checkerboard_keeps_its_brightness_in_linear_light():
    board = np.indices((64, 64)).sum(0) % 2 * 255
    picture = Image.fromarray(np.repeat(board[..., None], 3, 2).astype(np.uint8))
    # half the light of white is 188 in sRGB, not 128
    assert resample(picture, (32, 32), "area", linear=True).getpixel((5, 5)) == (188, 188, 188)


def test_nearest_makes_no_new_colours():
    picture = noise((20, 14), "RGBA")
    colors = {tuple(c) for c in np.asarray(picture).reshape(-1, 4).tolist()}
    for aim in ((50, 35), (7, 5)):
        made = np.asarray(resample(picture, aim, "nearest")).reshape(-1, 4)
        assert {tuple(c) for c in made.tolist()} <= colors


@settings(max_examples=80)
@given(st.integers(1, 2500), st.integers(1, 2500), st.sampled_from([256, 512, 768]), st.booleans())
def test_buckets_leave_the_trainer_nothing_to_cut(width: int, height: int, side: int, keep: bool):
    """B9: what --buckets makes is what the trainer's own bucketing keeps, whole."""
    chosen = options(buckets=side, only_shrink=keep)
    dataset = Dataset(resolution=(side, side), enable_bucket=True, bucket_no_upscale=keep)
    try:
        expected = buckets.fit(width, height, dataset)
    except UserError:
        with pytest.raises(UserError, match="smaller than bucket_reso_steps"):
            resized(Image.new("RGB", (width, height)), chosen)
        return
    if expected.resized[0] * expected.resized[1] > 3_000_000:
        return
    made = resized(Image.new("RGB", (width, height)), chosen)
    assert made.size == (expected.width, expected.height)
    again = buckets.fit(*made.size, dataset)
    assert again.resized == made.size
    assert again.cropped_away == 0


@pytest.mark.parametrize("size", [(300, 130), (130, 300), (400, 390)])
def test_buckets_keep_the_middle_as_the_trainer_does(size: tuple[int, int]):
    chosen = options(buckets=128, min_bucket_reso=64, max_bucket_reso=256, bucket_reso_steps=64)
    picture = noise(size)
    fit = buckets.fit(*size, chosen.dataset((128, 128)))
    assert sum(fit.crop) > 0
    whole = np.asarray(picture.resize(fit.resized, Image.Resampling.LANCZOS))
    left, top = fit.crop
    wanted = whole[top : top + fit.height, left : left + fit.width]
    assert (np.asarray(resized(picture, chosen)) == wanted).all()


def test_limits_of_buckets_reach_the_trainer():
    chosen = options(buckets="256x256", min_bucket_reso=128, max_bucket_reso=512)
    assert resized(noise((800, 200)), chosen).size == (512, 128)
    with pytest.raises(UserError, match="max_bucket_reso"):
        run(options(buckets=2048), Silent())


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "none of them"),
        ({"size": 5, "longest": 5}, "--size and --longest"),
        ({"longest": 5, "mode": "pad"}, "--mode pad needs --size"),
        ({"longest": 5, "color": "red"}, "--color has no effect without --mode pad"),
        ({"longest": 5, "min_bucket_reso": 64}, "--min-bucket-reso has no effect without"),
        ({"buckets": 512, "multiple_of": 8}, "--multiple-of has no effect"),
    ],
)
def test_options_that_do_not_fit_are_one_line(given: dict[str, Any], said: str):
    with pytest.raises(UserError, match=said):
        options(**given)


def _write(folder: Path) -> None:
    folder.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rows are columns
    exif[0x010F] = "a camera"
    wide = np.zeros((40, 80, 3), np.uint8)
    wide[:, :40] = (200, 30, 30)
    Image.fromarray(wide).save(folder / "turned.jpg", exif=exif, quality=95)
    noise((64, 64)).save(folder / "noise.webp", lossless=True)
    noise((64, 64), "RGBA").save(folder / "clear.png")


@pytest.mark.parametrize(
    ("form", "endings"),
    [
        ("png", {".png"}),
        ("jpeg", {".jpg"}),
        ("webp", {".webp"}),
        ("same", {".png", ".jpg", ".webp"}),
    ],
)
def test_files_are_upright_without_exif_in_the_format_told(
    tmp_path: Path, form: str, endings: set[str]
):
    _write(tmp_path / "in")
    chosen = {"folder": tmp_path / "in", "out": tmp_path / "out", "executor": "serial"}
    run(ResizeOptions.model_validate({**chosen, "longest": 40, "format": form}), Silent())
    made = {p.stem: p for p in (tmp_path / "out").iterdir() if p.suffix not in {".html", ""}}
    assert {p.suffix for p in made.values()} == endings
    assert [*sorted(made)] == ["clear", "noise", "turned"]
    with Image.open(made["turned"]) as picture:
        assert picture.size == (20, 40)
        assert not picture.getexif()
        red = np.asarray(picture.convert("RGB"))[..., 0]
        assert red[5, 10] > 150 > 60 > red[35, 10]  # the red half was left, turned it is on top
    rows = (tmp_path / "out" / ".renma" / "made.jsonl").read_text().splitlines()
    assert {json.loads(row)["source"] for row in rows} == {"clear.png", "noise.webp", "turned.jpg"}


def test_quality_is_what_the_file_says(tmp_path: Path):
    _write(tmp_path / "in")
    sizes = {}
    for quality in (30, 95):
        out = tmp_path / f"out{quality}"
        chosen = {"folder": tmp_path / "in", "out": out, "executor": "serial", "quality": quality}
        run(ResizeOptions.model_validate({**chosen, "longest": 64, "format": "jpeg"}), Silent())
        sizes[quality] = (out / "noise.jpg").stat().st_size
        with Image.open(out / "noise.jpg") as picture:
            assert isinstance(picture, JpegImageFile)
            step = picture.quantization[0][0]
        # the IJG scale: step 16 of the luma table times (5000 / q or 200 - 2 q) percent
        percent = 5000 / quality if quality < 50 else 200 - 2 * quality
        assert step == int((16 * percent + 50) / 100)
    assert sizes[30] < sizes[95] / 2
