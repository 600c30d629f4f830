"""The subject before another background: laws and the guide's trap (rows B6, F19-F21)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from renma.config.prepare.background import BackgroundOptions
from renma.core.errors import UserError
from renma.core.events import Silent
from renma.data.masks import Masks
from renma.data.pictures import read_rgb, read_straight
from renma.prepare import subject
from renma.prepare.background import fitted, laid, run, taken_away
from renma.prepare.subject import Found, _edges

HERE = Path()


class Told(Silent):
    """A report that keeps its lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def event(self, kind: str, **data: object) -> None:
        if kind == "warned":
            self.lines.append(f"warning: {data['text']}")

    def line(self, text: str) -> None:
        self.lines.append(text)


def options(folder: object = HERE, **changes: object) -> BackgroundOptions:
    return BackgroundOptions.model_validate({"folder": folder, "executor": "serial", **changes})


def disc(side: int, radius: float, middle: tuple[float, float] | None = None) -> np.ndarray:
    """Returns how much of each pixel a disc covers, float64, by 8 x 8 samples."""
    x, y = middle or (side / 2, side / 2)
    points = (np.arange(side * 8) + 0.5) / 8
    inside = (points[None, :] - x) ** 2 + (points[:, None] - y) ** 2 <= radius**2
    return inside.reshape(side, 8, side, 8).mean((1, 3))


def mixed(opacity: np.ndarray, color: tuple[int, ...], ground: tuple[int, ...]) -> np.ndarray:
    share = opacity[..., None]
    return (share * np.array(color) + (1 - share) * np.array(ground)).round().astype(np.uint8)


def figure(side: int = 256) -> tuple[np.ndarray, np.ndarray]:
    """Returns a plainly drawn person before a sky, uint8, and the truth."""
    y, x = np.mgrid[:side, :side] / side

    def oval(cx: float, cy: float, rx: float, ry: float) -> np.ndarray:
        return ((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 < 1

    picture = np.stack([0.25 + 0.2 * x, 0.45 + 0.2 * y, np.full_like(x, 0.7)], axis=2)
    neck = (abs(x - 0.5) < 0.06) & (y > 0.45) & (y < 0.65)
    body, head, hair = (
        oval(0.5, 1.02, 0.3, 0.45),
        oval(0.5, 0.36, 0.14, 0.19),
        oval(0.5, 0.3, 0.17, 0.2),
    )
    for part, color in (
        (hair, (0.25, 0.15, 0.1)),
        (neck, (0.85, 0.65, 0.55)),
        (body, (0.7, 0.2, 0.2)),
        (head & (y > 0.27), (0.9, 0.7, 0.6)),
        (oval(0.45, 0.35, 0.02, 0.012) | oval(0.55, 0.35, 0.02, 0.012), (0.1, 0.1, 0.15)),
        (oval(0.5, 0.45, 0.04, 0.008), (0.7, 0.3, 0.3)),
    ):
        picture[part] = color
    return (picture * 255).round().astype(np.uint8), body | head | hair | neck


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


def test_dropping_alpha_shows_hidden_colours_and_we_do_not(tmp_path: Path) -> None:
    """Row B6, the guide's trap: convert("RGB") shows what lies stored under transparent parts."""
    folder = tmp_path / "in"
    folder.mkdir()
    alpha = np.zeros((20, 20), np.uint8)
    alpha[5:15, 5:15] = 255
    hidden = np.full((20, 20, 3), (200, 0, 0), np.uint8)  # what a painting program left there
    Image.fromarray(np.dstack([hidden, alpha])).save(folder / "a.png")

    with Image.open(folder / "a.png") as picture:
        trap = np.asarray(picture.convert("RGB"))
    assert trap[0, 0].tolist() == [200, 0, 0]  # red, not the white that the guide expects

    run(options(folder, out=tmp_path / "white"), Silent())
    run(options(folder, out=tmp_path / "clear", color="transparent"), Silent())
    white = np.asarray(Image.open(tmp_path / "white/a.png"))
    assert white.shape == (20, 20, 3)
    assert (white[alpha == 0] == 255).all()
    assert (white[alpha == 255] == (200, 0, 0)).all()
    # even a program that drops alpha shows white after us
    dropped = np.asarray(Image.open(tmp_path / "clear/a.png").convert("RGB"))
    assert (dropped[alpha == 0] == 255).all()


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.tuples(*[st.integers(0, 255)] * 3))
def test_laying_on_a_colour_is_the_mask_as_alpha(seed: int, ground: tuple[int, int, int]) -> None:
    """Row B6, law: c = a F + (1 - a) B in every pixel, and the size stays."""
    rng = np.random.default_rng(seed)
    colors = rng.integers(0, 256, (9, 7, 3), np.uint8)
    mask = rng.random((9, 7)).astype(np.float32)
    picture = laid(colors, mask, ground)
    assert picture.size == (7, 9)
    assert picture.mode == "RGB"
    alpha = np.round(mask * 255)[..., None] / 255
    want = alpha * colors + (1 - alpha) * np.array(ground)
    assert np.abs(np.asarray(picture).astype(float) - want).max() <= 1


@settings(max_examples=10)
@given(st.integers(0, 2**32 - 1), st.tuples(*[st.integers(0, 255)] * 3))
def test_transparent_laid_on_a_colour_is_the_colour_output(
    tmp_path_factory: pytest.TempPathFactory, seed: int, ground: tuple[int, int, int]
) -> None:
    """Row B6, law: both outputs hold the same picture, bit by bit."""
    rng = np.random.default_rng(seed)
    mask = rng.random((8, 8)).astype(np.float32)
    colors = rng.integers(0, 256, (8, 8, 3), np.uint8)
    path = tmp_path_factory.mktemp("laid") / "a.png"
    laid(colors, mask, None).save(path)
    np.testing.assert_array_equal(read_rgb(path, ground), np.asarray(laid(colors, mask, ground)))


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.floats(0.05, 0.95), st.floats(0.05, 0.95))
def test_a_higher_threshold_keeps_less(seed: int, one: float, other: float) -> None:
    """Row B6, law: what a higher threshold keeps, a lower one keeps too."""
    low, high = sorted((one, other))
    mask = np.random.default_rng(seed).random((12, 12)).astype(np.float32)
    found = Found(mask, "onnx", sharp=False, how={})
    rgb = np.zeros((12, 12, 3), np.uint8)
    kept = [
        fitted(rgb, found, options(threshold=t, edge=0, specks=0, holes=0)) for t in (low, high)
    ]
    assert ((kept[1] > 0) <= (kept[0] > 0)).all()
    np.testing.assert_array_equal(kept[0] > 0, mask >= low)


def test_flat_background_gives_the_opacity_of_every_edge_pixel() -> None:
    """Row B6: on one colour the mixture at the edge is solved, not guessed."""
    opacity = disc(80, 25.3)
    rgb = mixed(opacity, (30, 60, 160), (240, 235, 228))
    found = subject.find(rgb, None, "flat")
    assert found.how["background"] == "#f0ebe4"
    assert np.abs(found.mask - opacity).max() < 0.03
    made, _ = taken_away(Image.fromarray(rgb), subject.opened("flat"), options(color="#00ff00"))
    want = mixed(opacity, (30, 60, 160), (0, 255, 0))
    error = np.abs(np.asarray(made.picture).astype(int) - want)
    assert error.max() < 12  # a halo of the old background would be off by 100 and more


def test_flat_keeps_what_is_enclosed_and_says_where_it_cannot_tell() -> None:
    """Row B6: white inside the subject belongs to it; a lively border is no plain background."""
    opacity = disc(60, 22) - disc(60, 8)
    found = subject.find(mixed(opacity, (200, 40, 40), (255, 255, 255)), None, "flat")
    assert found.mask[30, 30] == 1
    noise = np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8)
    with pytest.raises(UserError, match="no background of one colour"):
        subject.find(noise, None, "flat")
    with pytest.raises(UserError, match="no transparency"):
        subject.find(noise, np.full((60, 60), 255, np.uint8), "alpha")


def test_auto_takes_alpha_then_flat_then_the_network() -> None:
    """Row B6: the way that suits, and it is always said which."""
    person, truth = figure()
    alpha = (disc(40, 12) * 255).astype(np.uint8)
    plain = mixed(disc(40, 12), (9, 9, 9), (255, 255, 255))
    finder = subject.opened("auto")
    assert finder(plain, alpha).backend == "alpha"
    assert finder(plain, np.full_like(alpha, 255)).backend == "flat"
    by_colors = finder(person, None)
    assert by_colors.backend == "grabcut"
    assert by_colors.how["start"] == "person"
    assert overlap(by_colors.mask >= 0.5, truth) > 0.95


def test_grabcut_without_a_person_starts_from_the_frame() -> None:
    """Row B6: things have no person in them; the record says what was done instead."""
    rng = np.random.default_rng(1)
    thing = disc(120, 30, (60, 75)) > 0.5
    rgb = np.where(thing[..., None], (220, 180, 40), (60, 90, 70)) + rng.integers(
        -12, 12, (120, 120, 3)
    )
    found = subject.find(rgb.clip(0, 255).astype(np.uint8), None, "grabcut")
    assert found.how == {"start": "frame", "device": "cpu"}
    assert overlap(found.mask >= 0.5, thing) > 0.9


def test_specks_go_and_holes_close() -> None:
    """Row B6: parts and gaps below their share of the picture."""
    hard = np.zeros((100, 100), bool)
    hard[20:80, 20:80] = True
    hard[40:43, 40:43] = False  # 9 pixels
    hard[60:70, 60:70] = False  # 100 pixels
    hard[2:5, 2:5] = True
    clean = _edges.tidied(hard, specks=0.002, holes=0.002)
    assert not clean[:10].any()
    assert clean[41, 41]
    assert not clean[65, 65]


def test_guided_filter_solves_the_windows_regression() -> None:
    """He et al. 2013, eq. 14-16, written out with numpy.linalg for one window over everything."""
    rng = np.random.default_rng(3)
    guide = rng.random((5, 5, 3)).astype(np.float32)
    mask = rng.random((5, 5)).astype(np.float32)
    # radius 5 with mirrored borders: each window holds the picture and its mirror images
    whole = np.pad(guide, ((5, 5), (5, 5), (0, 0)), mode="symmetric").astype(float)
    masks = np.pad(mask, 5, mode="symmetric").astype(float)
    a, b = np.zeros((5, 5, 3)), np.zeros((5, 5))
    for y in range(5):
        for x in range(5):
            i, p = (
                whole[y : y + 11, x : x + 11].reshape(-1, 3),
                masks[y : y + 11, x : x + 11].ravel(),
            )
            covariance = np.cov(i.T, bias=True) + 1e-2 * np.eye(3)
            a[y, x] = np.linalg.solve(covariance, (i * p[:, None]).mean(0) - i.mean(0) * p.mean())
            b[y, x] = p.mean() - a[y, x] @ i.mean(0)
    means = [
        np.pad(v, ((5, 5), (5, 5), *[(0, 0)] * (v.ndim - 2)), mode="symmetric") for v in (a, b)
    ]
    want = np.zeros((5, 5))
    for y in range(5):
        for x in range(5):
            part = np.s_[y : y + 11, x : x + 11]
            want[y, x] = means[0][part].mean((0, 1)) @ guide[y, x] + means[1][part].mean()
    np.testing.assert_allclose(_edges.guided_filter(guide, mask, 5, 1e-2), want, atol=2e-4)


def test_a_rough_mask_is_pulled_to_the_edge() -> None:
    """Row B6: edge refinement repairs what a small network got wrong by some pixels."""
    truth = disc(120, 40)
    rgb = mixed(truth, (200, 60, 40), (40, 80, 120))
    rough = disc(120, 43, (62, 60)) >= 0.5
    soft = _edges.softened(rgb, rough, 6)
    before, after = np.abs(rough - truth).mean(), np.abs(soft - truth).mean()
    assert after < before / 2
    far = np.abs(np.hypot(*(np.mgrid[:120, :120] - 60)) - 40) > 16
    np.testing.assert_array_equal(soft[far], rough[far])


def test_own_colours_take_the_old_background_out() -> None:
    """Row B6: no halo: a half covered pixel gives the subject's colour alone."""
    opacity = disc(60, 20).astype(np.float32)
    rgb = mixed(opacity, (220, 40, 40), (20, 200, 20))
    colors = _edges.own_colors(rgb, opacity).astype(int)
    rim = (opacity > 0.15) & (opacity < 0.95)
    assert np.abs(colors[rim] - (220, 40, 40)).max() < 25
    assert np.abs(rgb[rim].astype(int) - (220, 40, 40)).max() > 100
    np.testing.assert_array_equal(colors[opacity == 1], rgb[opacity == 1])


def test_a_folder_is_done_and_told(tmp_path: Path) -> None:
    """Row B6: masks fit the trainer's mask_dir, ways are counted, a picture of nothing is named."""
    folder = tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    person, truth = figure(128)
    Image.fromarray(person).save(folder / "person.png")
    plain = mixed(disc(64, 20), (10, 10, 90), (255, 255, 255))
    Image.fromarray(plain).save(folder / "deep/plain.jpg", quality=95)
    Image.fromarray(np.full((32, 32, 3), 255, np.uint8)).save(folder / "empty.png")
    (folder / "person.txt").write_text("1girl")
    told = Told()
    run(options(folder, out=tmp_path / "out", save_masks=tmp_path / "masks"), told)
    said = "subjects found by: 1 flat, 1 grabcut; their networks ran on: 1 cpu"
    assert said in "\n".join(told.lines)
    assert any("no subject was found" in line and "empty.png" in line for line in told.lines)
    assert (tmp_path / "out/person.txt").read_text() == "1girl"
    made = np.asarray(Image.open(tmp_path / "out/person.png"))
    assert made.shape == person.shape
    assert (made[2, 2] == 255).all()
    mask = np.asarray(Image.open(Masks(tmp_path / "masks").of(folder / "person.png")))
    assert overlap(mask >= 128, truth) > 0.93
    assert (tmp_path / "masks/deep/plain.png").exists()
    rows = [json.loads(r) for r in (tmp_path / "out/.renma/made.jsonl").read_text().splitlines()]
    facts = {row["source"]: row["outputs"][0]["facts"] for row in rows if row["outputs"]}
    assert facts["deep/plain.jpg"]["backend"] == "flat"
    assert facts["person.png"]["start"] == "person"


def test_inverted_keeps_the_background_and_no_hidden_colour(tmp_path: Path) -> None:
    """Row B6: what lies under transparent parts stays hidden when they are kept, too."""
    alpha = np.zeros((20, 20), np.uint8)
    alpha[5:15, 5:15] = 255
    hidden = np.dstack([np.full((20, 20, 3), (200, 0, 0), np.uint8), alpha])
    Image.fromarray(hidden).save(tmp_path / "a.png")
    picture = read_straight(tmp_path / "a.png")
    made, mask = taken_away(picture, subject.opened("alpha"), options(invert=True, color="black"))
    result = np.asarray(made.picture)
    assert (result[alpha == 0] == 255).all()
    assert (result[alpha == 255] == 0).all()
    np.testing.assert_array_equal(mask, (alpha == 0).astype(np.float32))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"color": "transparent", "format": "jpeg"}, "JPEG cannot be transparent"),
        ({"backend": "onnx"}, "needs a network"),
        ({"backend": "flat", "model": "a.onnx"}, "has no effect with --backend flat"),
        ({"model_kind": "u2net"}, "no effect without --model"),
        ({"color": "whiteish"}, "no colour"),
    ],
)
def test_options_that_do_not_fit_are_refused(changes: dict[str, object], said: str) -> None:
    """Row B6: before any picture is read."""
    with pytest.raises((UserError, ValueError), match=said):
        options(**changes)


def test_masks_among_the_pictures_are_refused(tmp_path: Path) -> None:
    """B2: originals are never touched, nor added to."""
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    with pytest.raises(UserError, match="within a folder of pictures"):
        run(
            options(tmp_path, out=tmp_path.with_name("results"), save_masks=tmp_path / "masks"),
            Silent(),
        )


def test_a_jpeg_that_stays_one_is_not_made_transparent(tmp_path: Path) -> None:
    """Row B6: it is skipped and named; in silence it would come out on white."""
    (tmp_path / "in").mkdir()
    plain = mixed(disc(64, 20), (10, 10, 90), (255, 255, 255))
    Image.fromarray(plain).save(tmp_path / "in/a.jpg")
    Image.fromarray(plain).save(tmp_path / "in/b.png")
    told = Told()
    chosen = options(tmp_path / "in", out=tmp_path / "out", color="transparent", format="same")
    run(chosen, told)
    assert any("cannot be transparent" in line and "a.jpg" in line for line in told.lines)
    with Image.open(tmp_path / "out/b.png") as picture:
        assert picture.mode == "RGBA"


def test_an_option_without_effect_warns(tmp_path: Path) -> None:
    """House: never in silence."""
    (tmp_path / "in").mkdir()
    plain = mixed(disc(64, 20), (10, 10, 90), (255, 255, 255))
    Image.fromarray(plain).save(tmp_path / "in/a.png")
    told = Told()
    run(options(tmp_path / "in", out=tmp_path / "out", backend="flat", edge=3), told)
    assert any("--edge has no effect" in line for line in told.lines)


def test_where_nothing_was_found_nobody_is_named(tmp_path: Path) -> None:
    """House: every picture was skipped, so no line that ends in nothing."""
    (tmp_path / "in").mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "in/a.png")
    told = Told()
    with pytest.raises(UserError, match="nothing was made of 1 picture: "):
        run(options(tmp_path / "in", out=tmp_path / "out", backend="flat"), told)
    assert any("skipped" in line for line in told.lines)
    assert not any("found by" in line for line in told.lines)


def test_box_is_what_the_mask_covers() -> None:
    """Row B2: other verbs cut to it."""
    mask = np.zeros((10, 12), np.float32)
    mask[3:6, 4:9] = 0.7
    assert subject.box(mask) == (4, 3, 9, 6)
    assert subject.box(mask, 0.8) is None
