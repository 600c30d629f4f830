"""Frames are found whatever their colour and noise, and flat backgrounds are never eaten (B2)."""

from __future__ import annotations

import io

import numpy as np
import pytest
import skimage.data
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from renma.prepare.borders import find

ASTRONAUT = skimage.data.astronaut()
BARS = st.integers(0, 60)
COLOR = st.tuples(*[st.integers(0, 255)] * 3)


def scene(width: int, height: int, seed: int = 0) -> np.ndarray:
    """A photograph's like: smooth, but with all colours everywhere, also along its edges."""
    small = np.random.default_rng(seed).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def framed(
    inner: np.ndarray, bars: tuple[int, int, int, int], color: tuple[int, ...]
) -> np.ndarray:
    """Puts bars left, above, right, below around pixels."""
    left, top, right, bottom = bars
    made = np.empty((inner.shape[0] + top + bottom, inner.shape[1] + left + right, 3), np.uint8)
    made[...] = color
    made[top : top + inner.shape[0], left : left + inner.shape[1]] = inner
    return made


def inside(inner: np.ndarray, bars: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    left, top, _, _ = bars
    return left, top, left + inner.shape[1], top + inner.shape[0]


def noisy(pixels: np.ndarray, sigma: float) -> np.ndarray:
    grain = np.random.default_rng(1).normal(0, sigma, pixels.shape)
    return np.clip(pixels + grain, 0, 255).astype(np.uint8)


def jpeg(pixels: np.ndarray, quality: int) -> np.ndarray:
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "JPEG", quality=quality)
    return np.asarray(Image.open(data))


@settings(max_examples=40)
@given(BARS, BARS, st.sampled_from(["letter", "pillar", "all"]), COLOR, st.integers(0, 99))
def test_frames_of_any_colour_and_width_go_exactly(one, other, kind, color, seed):
    inner = scene(160, 120, seed)
    far = [np.abs(edge.astype(int) - color).max(axis=-1) > 16 for edge in _edges(inner)]
    if min(side.mean() for side in far) < 0.7:  # a picture that runs into its frame has no edge
        return
    wide = (one + 1, other + 1)
    bars = {
        "letter": (0, wide[0], 0, wide[1]),
        "pillar": (wide[0], 0, wide[1], 0),
        "all": (wide[0], wide[1], wide[1], wide[0]),
    }[kind]
    assert find(framed(inner, bars, color)) == inside(inner, bars)


def _edges(pixels: np.ndarray) -> list[np.ndarray]:
    return [pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1], pixels[1], pixels[-2]]


@pytest.mark.parametrize("sigma", [2, 5, 9])
def test_noise_is_allowed_for(sigma: float):
    bars = (0, 40, 0, 30)
    pixels = noisy(framed(ASTRONAUT, bars, (8, 120, 200)), sigma)
    assert find(pixels) == inside(ASTRONAUT, bars)


@pytest.mark.parametrize("quality", [40, 75, 95])
def test_jpeg_rings_at_the_edge_and_is_cut_to_a_pixel_or_two(quality: int):
    bars = (37, 37, 37, 37)
    found = find(jpeg(framed(ASTRONAUT, bars, (255, 255, 255)), quality))
    off = np.abs(np.array(found) - inside(ASTRONAUT, bars))
    assert off.max() <= 2


def test_resized_frames_leave_no_line_of_mixed_pixels():
    big = Image.fromarray(framed(ASTRONAUT, (0, 64, 0, 64), (0, 0, 0)))
    small = np.asarray(big.resize((300, 375), Image.Resampling.BICUBIC))
    left, top, right, bottom = find(small)
    assert (left, right) == (0, 300)
    exact = 64 * 375 / big.height  # half a row of each
    assert exact - 0.5 <= top <= exact + 2
    assert 375 - exact - 2 <= bottom <= 375 - exact + 0.5
    first, next_ = small[top].mean(), small[top + 1].mean()
    assert first > 0.7 * next_


def test_frames_in_frames():
    """A black margin around a thin white line around the picture."""
    pixels = framed(framed(ASTRONAUT, (3, 3, 3, 3), (250, 250, 250)), (20, 30, 20, 30), (0, 0, 0))
    assert find(pixels) == (23, 33, 23 + 512, 33 + 512)


def _figure(size: tuple[int, int], color: str = "white") -> np.ndarray:
    """A drawn figure that stands on a flat ground, cut by the lower edge."""
    picture = Image.new("RGB", size, color)
    draw = ImageDraw.Draw(picture)
    width, height = size
    draw.ellipse((width * 0.35, height * 0.1, width * 0.65, height * 0.4), fill="peru")
    draw.rectangle((width * 0.2, height * 0.4, width * 0.8, height), fill="navy")
    return np.asarray(picture)


@settings(max_examples=25)
@given(st.integers(40, 200), st.integers(40, 200), st.sampled_from(["white", "grey", "black"]))
def test_the_flat_ground_of_a_drawing_stays(width: int, height: int, color: str):
    assert find(_figure((width, height), color)) == (0, 0, width, height)


def test_what_looks_like_a_bar_but_is_none():
    sky = np.concatenate([np.full((80, 120, 3), (90, 160, 240), np.uint8), scene(120, 80)])
    assert find(sky) == (0, 0, 120, 160)  # nothing of its kind lies opposite
    assert find(sky, one_sided=True) == (0, 80, 120, 160)
    two = framed(scene(120, 80), (0, 20, 0, 0), (0, 0, 0))
    two = framed(two, (0, 0, 0, 20), (255, 255, 255))
    assert find(two) == (0, 0, 120, 120)  # opposite bars of two colours are no frame
    table = framed(scene(120, 80), (0, 20, 0, 20), (255, 255, 255))
    assert find(table) == (0, 20, 120, 100)
    table[60:, 66:] = 255  # a clear end above, but below the ground reaches up beside the thing
    assert find(table) == (0, 0, 120, 120)
    slope = np.tile(np.linspace(0, 255, 100)[:, None, None], (1, 80, 3)).astype(np.uint8)
    assert find(slope) == (0, 0, 80, 100)
    for picture in (ASTRONAUT, skimage.data.cat(), skimage.data.coffee(), skimage.data.rocket()):
        assert find(picture) == (0, 0, picture.shape[1], picture.shape[0])


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1), (7, 7), (40, 40)])
def test_one_colour_and_tiny_pictures_are_left_alone(size: tuple[int, int]):
    assert find(np.full((size[1], size[0], 3), 255, np.uint8)) == (0, 0, *size)


def test_tolerance_says_what_one_colour_is():
    stripes = np.zeros((30, 160, 3), np.uint8)
    stripes[:, 145:] = 24
    pixels = np.concatenate([stripes, scene(160, 100) // 2 + 100, stripes])
    assert find(pixels) == (0, 0, 160, 160)
    assert find(pixels, tolerance=30) == (0, 30, 160, 130)


def test_hidden_colours_of_transparent_margins_do_not_count():
    inner = np.dstack([scene(100, 80), np.full((80, 100), 255, np.uint8)])
    pixels = np.zeros((120, 100, 4), np.uint8)
    pixels[..., :3] = np.random.default_rng(2).integers(0, 256, (120, 100, 3))
    pixels[20:100] = inner
    assert find(pixels) == (0, 20, 100, 100)
    assert find(pixels[..., :3]) == (0, 0, 100, 120)
