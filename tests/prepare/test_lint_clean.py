"""B1: lint says nothing of pictures that are good: drawings of one hand, plain grounds, samples."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from renma.assets import FOLDER
from renma.config.prepare.lint import LintOptions
from renma.core.errors import UserError
from renma.core.events import Silent
from renma.prepare import lint
from renma.prepare.hashes import small_grey
from renma.prepare.lint_picture import BLOCKS
from renma.prepare.looks import _corners
from renma.prepare.sharpness import blockiness
from renma.prepare.variants import differs_in_colour
from renma.prepare.watermarks import find_marks

SIDE = 512
CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "half": lambda p: p.resize((p.width // 2, p.height // 2)),
    "brighter": lambda p: ImageEnhance.Brightness(p).enhance(1.1),
    "livelier": lambda p: ImageEnhance.Color(p).enhance(1.3),
    "without colour": lambda p: p.convert("L").convert("RGB"),
    "trimmed": lambda p: p.crop((8, 8, p.width - 8, p.height - 8)),
}


@pytest.fixture(autouse=True)
def _nothing_known(tmp_path_factory: pytest.TempPathFactory, monkeypatch) -> None:
    monkeypatch.setenv("RENMA_CACHE", str(tmp_path_factory.mktemp("cache")))


def drawing(seed: int, ground: str = "white", side: int = SIDE, moved: float = 12) -> Image.Image:
    """A head and shoulders, outlined, at nearly the same place each time."""
    rng = np.random.default_rng(seed)
    picture = Image.new("RGB", (2 * side, 2 * side), ground)
    draw = ImageDraw.Draw(picture)
    for left, top, right, bottom in ((0.2, 0.55, 0.8, 1.3), (0.28, 0.1, 0.72, 0.62)):
        box = np.array([left, top, right, bottom]) * 2 * side + rng.uniform(-moved, moved, 4)
        fill = tuple(map(int, rng.integers(0, 256, 3)))
        draw.ellipse(tuple(box), fill=fill, outline="black", width=side // 64)
    return picture.resize((side, side), Image.Resampling.LANCZOS)


def signed(picture: Image.Image) -> Image.Image:
    draw = ImageDraw.Draw(picture)
    place = (picture.width - 175, picture.height - 40)
    draw.text(place, "@some_artist", "white", font_size=26, stroke_width=2, stroke_fill="black")
    return picture


def marked(pictures: list[Image.Image]) -> set[int]:
    """Indices of the pictures in which a mark is found."""
    grey = [picture.convert("L") for picture in pictures]
    corners = np.stack([_corners(each) for each in grey])
    return {m.index for m in find_marks(corners, np.stack([small_grey(each) for each in grey]))}


def sample(name: str) -> list[Image.Image]:
    found = []
    for path in sorted((FOLDER / "samples" / name).rglob("*.png")):
        with Image.open(path) as picture:
            found.append(picture.convert("RGB"))
    assert found
    return found


def test_an_outline_that_drawings_share_is_no_mark():
    """B1: the corners are white and white again, and a shoulder runs through them."""
    assert len(marked([drawing(seed) for seed in range(60)])) <= 1


@pytest.mark.parametrize("name", ["style", "character/train", "character/reg"])
def test_the_samples_of_one_hand_have_no_mark(name):
    """B1: 512 pixels wide, so that there are corners to look at."""
    assert not marked([picture.resize((SIDE, SIDE)) for picture in sample(name)])


def test_plain_and_shaded_grounds_have_no_mark():
    """B1."""
    rng = np.random.default_rng(1)
    plain = [
        Image.new("RGB", (SIDE, SIDE), tuple(map(int, c))) for c in rng.integers(0, 256, (20, 3))
    ]
    shaded = [
        Image.fromarray(rng.integers(0, 256, (2, 2, 3), dtype=np.uint8)).resize((SIDE, SIDE))
        for _ in range(30)
    ]
    assert not marked(plain)
    assert not marked(shaded)
    assert not marked(plain + shaded)


def test_a_signature_on_drawings_is_still_found():
    """B1: a part of the set is signed; those and no others are named."""
    pictures = [drawing(seed, moved=60) for seed in range(40)]
    wanted = set(range(0, 40, 3))
    found = marked([signed(p) if i in wanted else p for i, p in enumerate(pictures)])
    assert len(found & wanted) >= 0.8 * len(wanted)
    assert len(found - wanted) <= 1


@pytest.mark.parametrize("name", ["style", "character"])
def test_the_samples_are_clean(name):
    """B1: what a newcomer tries first, at the size that they are made for."""
    folder = FOLDER / "samples" / name
    options = LintOptions(folder=folder, resolution=128, executor="serial")
    assert lint.examine(options, Silent()).findings == ()


def test_small_drawings_have_no_blocks():
    """B1: in few blocks, some row is always the liveliest; that is no grid."""
    values = [blockiness(np.asarray(p.convert("L"), np.float32)) for p in sample("style")]
    assert max(values) < BLOCKS


@pytest.mark.parametrize(
    ("side", "code"), [(500, None), (420, None), (380, "rather-small"), (300, "small")]
)
def test_how_small_is_too_small(tmp_path: Path, side, code):
    """B1: up to 1.25 times nothing is said, from 1.5 times on `renma check` warns as well."""
    Image.effect_noise((side, side), 60).convert("RGB").save(tmp_path / "a.png")
    options = LintOptions(folder=tmp_path, executor="serial")
    found = {f.code: f for f in lint.examine(options, Silent()).findings}
    assert found.keys() & {"small", "rather-small"} == ({code} if code else set())
    if code:
        assert found[code].measured == pytest.approx(512 / side, abs=0.01)


def test_shapes_are_judged_by_the_buckets_of_the_training(tmp_path: Path):
    """B1: with steps of 32, as `renma init` writes, 96x160 is a bucket; with 64 it is cut."""
    Image.effect_noise((96, 160), 60).convert("RGB").save(tmp_path / "a.png")

    def codes(**more: int) -> set[str]:
        values = {"folder": tmp_path, "executor": "serial", "resolution": 128, **more}
        options = LintOptions.model_validate(values)
        return {f.code for f in lint.examine(options, Silent()).findings}

    assert not codes() & {"aspect", "small", "rather-small"}
    assert "aspect" in codes(bucket_reso_steps=64)
    with pytest.raises(UserError, match="larger than a side"):
        codes(min_bucket_reso=256)


def test_colours_tell_drawings_apart_that_are_one_in_grey(tmp_path: Path):
    """B1, F29: another hair colour on another ground is another picture; a copy stays a copy."""
    one = drawing(3, "#a0d0a0", 256)
    red, green, blue = one.split()
    other = Image.merge("RGB", (green, red, blue))
    assert differs_in_colour(one, Image.merge("RGB", (blue, green, red)))
    assert differs_in_colour(one, other) == differs_in_colour(other, one)
    for name, change in CHANGES.items():
        assert not differs_in_colour(one, change(one)), name
    assert not differs_in_colour(one, ImageOps.mirror(one).rotate(90), turns=True)


def test_class_pictures_may_share_a_caption(tmp_path: Path):
    """F28: all regularisation pictures carry the caption of their class."""
    for folder in ("reg/1_person", "train/10_aa12 person"):
        (tmp_path / folder).mkdir(parents=True)
        for number in range(2):
            Image.effect_noise((80, 80), 60).save(tmp_path / folder / f"{number}.png")
            (tmp_path / folder / f"{number}.txt").write_text("person")
    found = lint.examine(LintOptions(folder=tmp_path, executor="serial"), Silent()).findings
    same = {f.picture: f.text for f in found if f.code == "caption-same"}
    assert set(same) == {f"train/10_aa12 person/{n}.png" for n in range(2)}
    assert all(text.startswith("as 1 other:") for text in same.values())
