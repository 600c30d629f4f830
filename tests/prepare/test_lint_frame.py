"""B1, B2: bars around pictures, told by lint as crop cuts them off."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from renma.prepare import borders
from renma.prepare.looks import measure
from renma.prepare.surface import frame
from testbed.photographs import photo


def test_bars_are_measured():
    picture = np.asarray(photo(7, (300, 200)))
    boxed = np.pad(picture, ((20, 30), (0, 0), (0, 0)))
    assert (frame(boxed).top, frame(boxed).bottom) == (20 / 250, 30 / 250)
    assert frame(boxed).share == pytest.approx(50 / 250)
    pillar = np.pad(picture, ((0, 0), (10, 12), (0, 0)), constant_values=255)
    assert frame(pillar).share == pytest.approx(22 / 322)
    assert frame(picture).share == 0
    sprite = np.full((200, 200, 3), 255, np.uint8)
    mask = Image.new("L", (200, 200))
    ImageDraw.Draw(mask).ellipse((60, 40, 140, 260), fill=255)
    sprite[np.asarray(mask) > 0] = picture[:, :200][np.asarray(mask) > 0]
    assert frame(sprite).share == 0  # a figure on white has no frame
    sky = picture.copy()
    sky[:60] = (120, 160, 220)
    assert frame(sky).share == 0  # one bar alone is a part of the picture


@pytest.mark.parametrize("noise", [0, 6])
@pytest.mark.parametrize("bar", [2, 5, 40])
def test_bars_are_what_crop_cuts_off(tmp_path: Path, bar: int, noise: int):
    """Thin ones of a large picture and noisy ones too: both look at the same pixels."""
    grown = np.pad(np.asarray(photo(3, (900, 1200))), ((bar, bar), (0, 0), (0, 0)))
    rough = np.random.default_rng(bar).normal(0, noise, grown.shape)
    pixels = (grown + rough).clip(0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    seen = measure(tmp_path / "a.png", "0" * 64, 512, 10**8).frame
    left, top, right, bottom = borders.find(pixels)
    height, width = pixels.shape[:2]
    assert (top, bottom) == (bar, height - bar)
    kept = (right - left) * (bottom - top) / (height * width)
    assert seen.share == pytest.approx(1 - kept)
