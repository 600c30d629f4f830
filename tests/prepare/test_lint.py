"""B1, F19-F24, F26, F28, F29: what lint says of pictures that are known to be bad, and of good ones."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageOps

from renma.config.prepare.collect import CollectOptions
from renma.config.prepare.lint import LintOptions
from renma.core.events import Silent
from renma.prepare import collect, lint, looks
from renma.prepare.findings import CHECKS
from renma.prepare.headers import jpeg_quality, read_header
from renma.prepare.sharpness import blockiness, fine_detail, one_way, sharpness, spectrum
from renma.prepare.surface import light
from renma.prepare.watermarks import find_marks
from testbed.photographs import photo


def moved(picture: Image.Image) -> Image.Image:
    """Blurred level over 20 pixels."""
    values = np.cumsum(np.pad(np.asarray(picture, float), ((0, 0), (20, 0), (0, 0)), "edge"), 1)
    return Image.fromarray(((values[:, 20:] - values[:, :-20]) / 20).clip(0, 255).astype(np.uint8))


def jpeg(picture: Image.Image, quality: int) -> Image.Image:
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=quality)
    return Image.open(data).convert("RGB")


@pytest.fixture(autouse=True)
def _nothing_known(tmp_path_factory: pytest.TempPathFactory, monkeypatch) -> None:
    monkeypatch.setenv("RENMA_CACHE", str(tmp_path_factory.mktemp("cache")))


def grey(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture.convert("L"), np.float32)


def examined(folder: Path, **options: Any) -> lint.Examined:
    return lint.examine(LintOptions(folder=folder, executor="serial", **options), Silent())


def codes(folder: Path, name: str, **options: Any) -> set[str]:
    found = {f.code for f in examined(folder, **options).findings if f.picture == name}
    return found - {"caption-missing"}


FAULTS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "blurred": lambda p: p.filter(ImageFilter.GaussianBlur(3)),
    "motion-blur": moved,
    "upscaled": lambda p: p.resize((300, 256), 1).resize(p.size, Image.Resampling.BICUBIC),
    "jpeg": lambda p: jpeg(p, 15),
    "frame": lambda p: ImageOps.expand(p, (0, 60), "black"),
    "flat": lambda p: Image.blend(p, Image.new("RGB", p.size, (90, 120, 99)), 0.97),
    "dark": lambda p: ImageEnhance.Brightness(p).enhance(0.25),
    "bright": lambda p: Image.blend(p, Image.new("RGB", p.size, "white"), 0.8),
    "grey": lambda p: p.convert("L").convert("RGB"),
    "aspect": lambda p: p.resize((1600, 240)),
    "small": lambda p: p.crop((100, 100, 400, 400)),
    "rather-small": lambda p: p.crop((100, 100, 480, 480)),
}  # fmt: skip


@pytest.mark.parametrize("code", FAULTS)
def test_a_fault_is_found_and_named(tmp_path: Path, code):
    FAULTS[code](photo()).save(tmp_path / "bad.png")
    assert code in codes(tmp_path, "bad.png")


@pytest.mark.parametrize("seed", range(3))
def test_good_pictures_are_left_alone(tmp_path: Path, seed):
    photo(seed).save(tmp_path / "good.png")
    photo(seed + 50).save(tmp_path / "good.jpg", quality=92)
    photo(seed + 90, (1000, 800)).save(tmp_path / "large.png", compress_level=1)
    for name in ("good.png", "good.jpg", "large.png"):
        assert codes(tmp_path, name) <= {"same-stem"}


def test_a_blurred_background_behind_a_sharp_subject_is_no_fault():
    picture = photo(4)
    soft = picture.filter(ImageFilter.GaussianBlur(6))
    soft.paste(picture.crop((200, 120, 440, 400)), (200, 120))
    whole, behind = sharpness(grey(picture)), sharpness(grey(soft))
    assert whole is not None
    assert behind is not None
    assert behind > 0.8 * whole
    assert sharpness(np.full((100, 100), 9, np.float32)) is None


def test_sharpness_falls_with_blur_and_not_with_contrast():
    picture = photo(2)
    values = [sharpness(grey(picture.filter(ImageFilter.GaussianBlur(s)))) for s in (0, 1, 2, 4)]
    assert all(a is not None and b is not None and a > b for a, b in pairwise(values))
    assert sharpness(grey(picture) * 0.5) == pytest.approx(values[0], rel=0.1)


def test_spectrum_is_the_mean_of_windowed_transforms():
    values = grey(photo(1))[:128, :128]
    taper = np.outer(np.hanning(128), np.hanning(128))
    wanted = np.abs(np.fft.fft2((values.astype(np.float64) - values.mean()) * taper)) ** 2
    found = spectrum(values)
    assert found is not None
    assert np.allclose(found, wanted, rtol=1e-2, atol=wanted.max() * 1e-7)
    assert spectrum(values[:127]) is None


def test_fine_detail_is_level_for_the_law_and_low_after_enlarging():
    def detail(picture: Image.Image) -> float:
        power = spectrum(grey(picture))
        assert power is not None
        return fine_detail(power)

    picture = photo(3)
    assert abs(detail(picture)) < 4
    for method in (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS):
        assert detail(picture.resize((300, 256), 1).resize(picture.size, method)) < -19


def test_one_way_sees_the_direction_only():
    power = spectrum(grey(photo(6)))
    assert power is not None
    assert one_way(power) < 6
    for picture in (moved(photo(6)), moved(photo(6)).rotate(90, expand=True)):
        power = spectrum(grey(picture))
        assert power is not None
        assert one_way(power) > 17


def test_blocks_are_found_wherever_the_grid_begins():
    picture = photo(5)
    assert blockiness(grey(picture)) < 1.1
    for left in (0, 3, 7):
        cut = jpeg(picture, 15).crop((left, left, left + 400, left + 300))
        assert blockiness(grey(cut)) > 1.35


@pytest.mark.parametrize("quality", [5, 15, 30, 49, 50, 51, 70, 85, 92, 98])
def test_quality_is_read_off_the_tables(tmp_path: Path, quality):
    """The library that wrote the file says which quality it was asked for."""
    path = tmp_path / "a.jpg"
    photo().save(path, quality=quality)
    found = read_header(path).quality
    assert found is not None
    assert abs(found - quality) <= 1
    assert jpeg_quality([1] * 64) == 99


def test_light_leaves_the_ground_out():
    black = np.full((100, 100, 3), 255, np.uint8)
    black[30:70, 30:70] = np.random.default_rng(0).integers(0, 30, (40, 40, 3))
    assert light(black).dark < 40
    assert light(black).colour < 40
    assert light(np.full((10, 10, 3), 200, np.uint8)).spread == 0


def test_files_that_are_odd(tmp_path: Path):
    """F19, F20, F21, F22, F26."""
    (tmp_path / "html.png").write_bytes(b"<html>")
    (tmp_path / "empty.jpg").write_bytes(b"")
    whole = io.BytesIO()
    photo().save(whole, "PNG", compress_level=1)
    (tmp_path / "torn.png").write_bytes(whole.getvalue()[:90_000])
    (tmp_path / "dead.png").symlink_to("nowhere")
    photo().convert("CMYK").save(tmp_path / "print.jpg", quality=95)
    exif = Image.Exif()
    exif[0x0112] = 6
    photo(1).save(tmp_path / "side.jpg", quality=95, exif=exif)
    film = [photo(seed, (520, 520)) for seed in (2, 3)]
    film[0].save(tmp_path / "film.webp", save_all=True, append_images=film[1:], quality=95)
    clear = photo(4).convert("RGBA")
    clear.paste((0, 0, 0, 0), (0, 0, 300, 200))
    clear.save(tmp_path / "clear.png", compress_level=1)
    photo(5).save(tmp_path / "Clear.webp", quality=95)
    wanted = {
        "html.png": "broken", "empty.jpg": "broken", "torn.png": "broken", "dead.png": "broken",
        "print.jpg": "colour-mode", "side.jpg": "turned", "film.webp": "animated",
        "clear.png": "transparent",
    }  # fmt: skip
    found = examined(tmp_path)
    said = {name: {f.code for f in found.findings if f.picture == name} for name in wanted}
    assert {name: code in said[name] for name, code in wanted.items()} == dict.fromkeys(
        wanted, True
    )
    assert {f.picture for f in found.findings if f.code == "broken"} == {
        n for n, c in wanted.items() if c == "broken"
    }
    assert {f.picture for f in found.findings if f.code == "same-stem"} == {
        "clear.png",
        "Clear.webp",
    }


def test_captions(tmp_path: Path):
    """F28."""
    for seed in range(7):
        photo(seed, (520, 520)).save(tmp_path / f"{seed}.png", compress_level=1)
    for name, data in {
        "0": b"", "1": b"  , ,\n", "2": "猫, 犬".encode("cp932"), "3": "one, two".encode("utf-16"),
        "4": b"same text", "5": b"same text\n",
    }.items():  # fmt: skip
        (tmp_path / f"{name}.txt").write_bytes(data)
    found: dict[str, set[str]] = {}
    for finding in examined(tmp_path).findings:
        found.setdefault(finding.code, set()).add(finding.picture)
    assert found == {
        "caption-empty": {"0.png", "1.png"},
        "caption-encoding": {"2.png", "3.png"},
        "caption-same": {"4.png", "5.png"},
        "caption-missing": {"6.png"},
    }
    (tmp_path / "6.txt").write_bytes(b"\x81\x00\xff\xfe\x00")
    assert codes(tmp_path, "6.png") == {"caption-broken"}


def test_copies_name_the_one_to_keep(tmp_path: Path):
    """F29."""
    original = photo(8, (800, 640))
    original.save(tmp_path / "z-original.png", compress_level=1)
    original.resize((640, 512), 1).save(tmp_path / "a-smaller.jpg", quality=85)
    (tmp_path / "b.png").write_bytes((tmp_path / "z-original.png").read_bytes())
    (tmp_path / "z-original.txt").write_text("captioned")
    ImageOps.mirror(original).save(tmp_path / "mirror.jpg", quality=92)
    smile = original.copy()
    ImageDraw.Draw(smile).ellipse((380, 300, 410, 324), fill="white")
    smile.save(tmp_path / "variant.png", compress_level=1)
    found = [(f.code, f.picture, f.others) for f in examined(tmp_path).findings if f.others]
    assert found == [
        ("exact-duplicate", "b.png", ("z-original.png",)),
        ("near-duplicate", "a-smaller.jpg", ("z-original.png",)),
        ("variant", "variant.png", ("z-original.png",)),
    ]
    assert "near-duplicate" in codes(tmp_path, "mirror.jpg", turned=True)


def test_a_mark_that_several_pictures_share(tmp_path: Path):
    for seed in range(6):
        picture = photo(seed, (560, 520))
        if seed < 4:
            draw = ImageDraw.Draw(picture)
            draw.text(
                (330, 400), "ARTIST", "white", font_size=50, stroke_width=2, stroke_fill="black"
            )
            draw.text(
                (330, 455), "example", "white", font_size=40, stroke_width=2, stroke_fill="black"
            )
        picture.save(tmp_path / f"{seed}.png", compress_level=1)
    marked = {f.picture: f.text for f in examined(tmp_path).findings if f.code == "watermark"}
    assert set(marked) == {"0.png", "1.png", "2.png", "3.png"}
    assert all(text.startswith("bottom right, as in 3") for text in marked.values())


def test_shading_and_edges_are_no_marks():
    """In many smooth pictures some corners are shaded alike, or cut by an edge at one place."""
    rng = np.random.default_rng(0)
    corners = []
    for _ in range(1200):
        cells = Image.fromarray(rng.integers(0, 256, (3, 3), dtype=np.uint8))
        patch = np.array(cells.resize((64, 32), Image.Resampling.BICUBIC))
        patch[:, int(rng.integers(0, 60)) :] //= 2
        corners.append(patch)
    small = rng.integers(0, 256, (300, 32, 32), dtype=np.uint8)
    assert find_marks(np.stack(corners).reshape(300, 4, 32, 64), small) == []


def test_fix_list_is_what_collect_leaves_out(tmp_path: Path):
    folder = tmp_path / "in"
    folder.mkdir()
    photo(1).save(folder / "#good.png")
    (folder / "copy.png").write_bytes((folder / "#good.png").read_bytes())
    photo(2).filter(ImageFilter.GaussianBlur(4)).save(folder / "soft.png")
    photo(3, (90, 90)).save(folder / "small.png")
    (folder / "torn.png").write_bytes(b"x")
    listed = tmp_path / "fix.txt"
    lint.run(LintOptions(folder=folder, executor="serial", fix_list=listed), Silent())
    options = CollectOptions(
        folders=(folder,), out=tmp_path / "out", leave_out=listed, executor="serial"
    )
    collect.run(options, Silent())
    kept = {p.name for p in (tmp_path / "out").glob("*.png")}
    assert kept == {"#good.png", "small.png"}
    assert re.search(r"^# small\.png +# small: ", listed.read_text(), re.MULTILINE)


def test_a_second_lint_decodes_nothing(tmp_path: Path, monkeypatch):
    for seed in range(4):
        photo(seed, (200, 200)).save(tmp_path / f"{seed}.png")
    first = examined(tmp_path)
    assert first.fresh == 4
    again = Path(tmp_path / "other" / "name")
    again.mkdir(parents=True)
    (tmp_path / "0.png").rename(again / "renamed.png")

    def never(*_: object) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr(looks, "measure", never)
    second = examined(tmp_path)
    assert second.fresh == 0
    moved = second.looks["other/name/renamed.png"]
    before = first.looks["0.png"]
    assert moved.header == before.header
    assert moved.thumb == before.thumb
    assert (moved.small == before.small).all()
    assert (moved.corners == before.corners).all()
    assert [f.text for f in second.findings if f.code == "small"] == [
        f.text for f in first.findings if f.code == "small"
    ]


def test_a_changed_picture_and_a_damaged_entry_are_measured_anew(tmp_path: Path):
    photo(1, (200, 200)).save(tmp_path / "a.png")
    one = examined(tmp_path).looks["a.png"]
    stage = looks.LooksStage(512, 64_000_000)
    entry = stage._store().path(stage._key(one.digest))
    entry.write_bytes(b'{"digest": 1}')
    assert examined(tmp_path).fresh == 1
    photo(2, (200, 200)).save(tmp_path / "a.png")
    assert examined(tmp_path).looks["a.png"].digest != one.digest


def test_processes_find_the_same(tmp_path: Path):
    for seed in range(3):
        FAULTS["blurred"](photo(seed + 70, (160, 160))).save(tmp_path / f"{seed}.png")
    (tmp_path / "x.png").write_bytes(b"no")
    spread = lint.examine(LintOptions(folder=tmp_path, executor="processes", workers=2), Silent())
    assert spread.fresh == 3
    assert spread.findings == examined(tmp_path).findings


def test_every_check_has_a_test():
    """A code that no other test here asserts would be a check that nobody tried."""
    text = Path(__file__).read_text(encoding="utf-8")
    untried = {"profile"}  # collect's tests apply one; see test_collect.py
    assert {code for code in CHECKS if f'"{code}"' not in text} <= untried
