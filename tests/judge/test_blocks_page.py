"""The page, the sheet and the colours of ``renma blocks``. Row F2."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.color import deltaE_ciede2000, rgb2lab

from renma.config.model import ModelConfig
from renma.config.picture_recipe import Recipe, UsedLora
from renma.config.prompts import Prompt
from renma.judge.blocks.effect import Effects, Setting, measure
from renma.judge.blocks.heat import heat_map, palette, top_of
from renma.judge.blocks.page import render
from renma.judge.blocks.picture_change import change, from_others
from renma.judge.blocks.rows import Row
from renma.judge.blocks.sheet import sheet_of

HOSTILE = "<script>alert(1)</script> & \"quotes\" <img src='https://example.org/a.png'>"


class Stripes:
    """Paints black; each block turns one column white, the whole LoRA all three."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.count = folder, 0

    def paint(self, recipes):
        return [self._one(recipe) for recipe in recipes]

    def _one(self, recipe: Recipe) -> Path:
        columns: list[int] = []
        if recipe.loras:
            text = recipe.loras[0].blocks
            columns = [0, 1, 2] if not text else [int(c) for c in text.split("+") if c]
        pixels = np.zeros((8, 4, 3), np.uint8)
        pixels[:, columns] = 255
        self.count += 1
        path = self.folder / f"{self.count}.png"
        Image.fromarray(pixels).save(path)
        return path


@pytest.fixture
def found(tmp_path: Path) -> Effects:
    prompt = Prompt(text="x", seed=0, width=64, height=64)
    recipes = tuple(
        Recipe(model=ModelConfig(), prompt=prompt.model_copy(update={"seed": s})) for s in range(2)
    )
    setting = Setting(recipes, UsedLora(name="a", path="a"), False, 20)
    rows = [
        Row("BASE", 3, ("BASE",), "1+2", "0", "the text encoder"),
        Row("IN01", 2, ("IN01",), "0+2", "1", "2 layers"),
        Row("IN02", 0, ()),
        Row("M00", 1, ("M00",), "0+1", "2", "1 layer"),
    ]
    presets = [Row("INS", 2, ("IN01",), only="1", about="IN01"), Row("OUTS", 0, ())]
    return measure(Stripes(tmp_path), setting, rows, presets)


ABOUT = {
    "model": "/home/me/models/base.safetensors", "prompt": HOSTILE, "seeds": [0, 1], "weight": 1.0,
    "threshold": 20,
}  # fmt: skip


class Parts(HTMLParser):
    """Collects tags with their attributes, and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_bar_for_each_block_that_is_drawn(found: Effects) -> None:
    page = Parts(render(found, "hero", ABOUT, ["said"]))
    widths = [a["style"] for tag, a in page.tags if tag == "i" and a.get("class") == "off"]
    # each block is one of the three columns that the whole LoRA changes
    assert widths == ["width:33.3%"] * 3
    alone = [a["style"] for tag, a in page.tags if tag == "i" and a.get("class") == "alone"]
    assert alone == ["width:33.3%"] * 4
    pictures = [a for tag, a in page.tags if tag == "img"]
    # base, whole, its map; the scale; four a block; two of the preset
    assert len(pictures) == 3 + 1 + 4 * 3 + 2
    assert "IN02" not in page.text
    assert "base.safetensors" in page.text
    assert "/home/me" not in page.text


def test_nothing_outside_and_nothing_to_execute(found: Effects) -> None:
    text = render(found, HOSTILE, ABOUT, [HOSTILE])
    page = Parts(text)
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "iframe", "object", "link", "base", "form", "a"}
    sources = [a[n] or "" for _, a in page.tags for n in ("src", "href", "srcset") if n in a]
    assert sources
    assert all(source.startswith("data:image/webp;base64,") for source in sources)
    assert not [n for _, a in page.tags for n in a if n.startswith("on")]
    (policy,) = [a["content"] or "" for _, a in page.tags if "http-equiv" in a]
    assert policy.startswith("default-src 'none'")
    assert not re.search(r"url\(|@import", text)
    assert page.text.count("alert(1)") >= 3


def test_the_sheet_shows_pictures_and_maps(found: Effects) -> None:
    sheet = np.asarray(sheet_of(found, "hero"))
    light, dark = palette()[-1], palette()[0]
    # three maps of 128 x 128 cells whose pixels are enlarged 16 times: a column is 16 x 128
    for colour, least in ((light, 6 * 16 * 128), (dark, 6 * 3 * 16 * 128)):
        assert (sheet == colour).all(2).sum() >= least


def test_colours_are_even_and_grow_lighter() -> None:
    """By CIELAB, which they were not made with: even steps, also as those see who lack a cone."""
    rgb = palette() / 255
    lab = rgb2lab(rgb)
    assert (np.diff(lab[:, 0]) > 0).mean() > 0.98
    assert lab[0, 0] < 8
    assert lab[-1, 0] > 95
    every = rgb2lab(rgb[::15])
    steps = deltaE_ciede2000(every[1:], every[:-1])
    assert steps.max() < 2.5 * steps.min()
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    # Machado et al. 2009, severity 1
    for matrix in (
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
    ):  # fmt: skip
        seen = np.clip(linear @ np.array(matrix).T, 0, 1)
        luminance = seen @ [0.2126, 0.7152, 0.0722]
        assert (np.diff(luminance[::5]) > 0).all()


def test_a_map_has_the_colour_of_each_change() -> None:
    where = np.array([[0, 25, 50, 300]], np.float32)
    pixels = np.asarray(heat_map(where, 50))
    assert [list(pixels[0, i]) for i in (0, 2, 3)] == [list(palette()[i]) for i in (0, -1, -1)]
    assert list(pixels[0, 1]) in [list(palette()[i]) for i in (127, 128)]
    assert top_of([where[:, :1]]) == 20  # nothing changed: noise is not blown up
    assert top_of([np.full((4, 4), 61, np.float32)]) == 70
    assert top_of([np.full((4, 4), 254, np.float32)]) == 255


def test_changes_are_counted_by_the_largest_of_three() -> None:
    before = np.zeros((2, 2, 3), np.uint8)
    after = before.copy()
    after[0, 0] = (0, 21, 0)
    after[1, 1] = (20, 20, 20)
    got = change([before, before], [after, before], 20)
    assert (got.percent, got.mean) == (12.5, pytest.approx(81 / 12 / 2))
    assert got.error == pytest.approx(12.5)  # of 25 % and 0 %
    assert got.where.tolist() == [[10.5, 0], [0, 10]]


def test_distance_leaves_the_own_seed_out() -> None:
    family = [np.full((2, 2, 3), level, np.uint8) for level in (0, 10, 40)]
    assert from_others(family, family) == [25, 20, 35]
    assert from_others([family[2]] * 3, family) == [15, 20, 35]
