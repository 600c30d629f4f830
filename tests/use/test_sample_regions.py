"""What ``renma sample`` says of pictures of regions. Row F5."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from renma.cli.app import main
from renma.config.picture_recipe import UsedRegion
from renma.core.errors import UserError
from renma.drawing import regions

RED = UsedRegion(colour="red", prompt="a", strength=1.0)


def page(path: Path, size: tuple[int, int], box: tuple[int, int, int, int]) -> Path:
    picture = Image.new("RGB", size, "white")
    picture.paste("red", box)
    picture.save(path)
    return path


def test_transparent_pixels_are_the_rest_whatever_colour_lies_under_them(tmp_path: Path):
    picture = Image.new("RGBA", (64, 64), (255, 0, 0, 0))
    picture.paste((255, 0, 0, 255), (0, 0, 32, 64))
    picture.save(tmp_path / "x.png")
    mask, rest = regions.read(tmp_path / "x.png", [RED], 0, (64, 64))
    expected = np.zeros((64, 64))
    expected[:, :32] = 1
    assert np.array_equal(mask, expected)
    assert np.array_equal(rest, 1 - expected)
    Image.new("RGBA", (64, 64), (255, 0, 0, 0)).save(tmp_path / "y.png")
    with pytest.raises(UserError, match="has no pixel of 'red'"):
        regions.read(tmp_path / "y.png", [RED], 0, (64, 64))


@pytest.mark.parametrize(("side", "feather"), [(1, 0.0), (6, 40.0)])
def test_a_region_too_small_to_be_drawn_is_refused(tmp_path: Path, side: int, feather: float):
    path = page(tmp_path / "x.png", (128, 128), (8, 8, 8 + side, 8 + side))
    with pytest.raises(UserError, match="too little of 'red' to draw at 128x128"):
        regions.read(path, [RED], feather, (128, 128))
    large = page(tmp_path / "y.png", (128, 128), (8, 8, 72, 72))
    assert regions.read(large, [RED], feather, (128, 128))[0].max() > 0.1


@pytest.mark.parametrize(("width", "told"), [(64, True), (32, False)])
def test_a_prompt_that_nothing_is_left_for_is_told(tmp_path: Path, width: int, told: bool, capsys):
    path = page(tmp_path / "x.png", (64, 64), (0, 0, width, 64))
    how = ("--width", "64", "--height", "64", "--steps", "1", "--device", "cpu")
    words = ("--prompt", "b", "--regions", str(path), "--region", "red=a", *how)
    assert main(["sample", "mame", *words, "-o", str(tmp_path / "o")]) == 0
    assert ("--prompt has no effect where regions" in capsys.readouterr().out) is told
