"""Regions of a picture: prompts and LoRAs by the colours of a mask. Row F5."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some
from PIL import Image
from torch.nn import functional

from renma.adapters._base import rows
from renma.config.picture_recipe import UsedRegion
from renma.core.errors import UserError
from renma.drawing import regions
from renma.engine.area_share import inside, shares, windows
from renma.engine.attach import Host
from renma.engine.cast import _TOLD, NONE, Cast, Role
from renma.engine.compose import Area, Scene, Way, Words, denoise_scenes, predictor
from renma.engine.sample import Shot, denoise
from testbed.every_algorithm import CONFIGS

WAYS: tuple[Way, ...] = ("whole", "windows", "layers")
FULL = (1.0, 1.0)
SHOT = Shot("smile", "bad", width=128, height=64, seed=3, steps=2, scale=4.0)
TIME = torch.tensor(400)
CPU = torch.device("cpu")


def halves() -> tuple[torch.Tensor, torch.Tensor]:
    left = torch.zeros(64, 128)
    left[:, :64] = 1
    return left, 1 - left


@pytest.mark.parametrize("power", [1.0, -1.0])
@pytest.mark.parametrize("way", WAYS)
def test_one_region_over_everything_is_plain_sampling(mame, case, way: Way, power: float):
    made, heard = case("lora"), ((power, power),)
    area = Area(Words("bad", heard), ((Words("smile", heard), 1.0),), torch.full((9, 5), 0.3))
    with made.network.at(unet=power, text_encoder=power):
        plain = denoise(mame, [SHOT])
    got = denoise_scenes(mame, [Scene(SHOT, (area,), way)], Cast([Role(made.network)]))
    torch.testing.assert_close(got, plain, rtol=1e-4, atol=1e-4)


def step(model, cast: Cast, areas: tuple[Area, ...], way: Way) -> torch.Tensor:
    """One prediction of a picture of areas."""
    x = torch.randn(1, 4, 8, 16, generator=torch.Generator().manual_seed(1))
    with torch.no_grad(), cast.on_stage():
        return predictor(model, [Scene(SHOT, areas, way)], cast, (128, 64))(x, TIME)


@pytest.mark.parametrize("powers", [(1.0, 0.0), (0.0, -1.0), (-1.0, 0.5)])
def test_in_layers_texts_joined_by_and_keep_their_loras(mame, case, powers: tuple[float, float]):
    """Row F6 inside F5: one area over everything, so a LoRA is where it is without areas."""
    cast, texts = Cast([Role(case("lora").network)]), ("smile", "red hair")
    pulls = tuple((Words(t, ((p, p),)), 0.7) for t, p in zip(texts, powers, strict=True))
    area = Area(Words("bad", (NONE,)), pulls)
    whole, layers = (step(mame, cast, (area,), way) for way in ("whole", "layers"))
    torch.testing.assert_close(layers, whole, rtol=1e-4, atol=1e-4)
    swapped = tuple((Words(t, ((p, p),)), 0.7) for t, p in zip(texts, powers[::-1], strict=True))
    other = step(mame, cast, (Area(area.negative, swapped),), "layers")
    assert (other - whole).abs().max() > 1e-2


class Noted(Cast):
    """Keeps the maps that it is played with."""

    def play(self, part, powers, *, maps=None, **how):
        if part == "unet":
            self.noted = (powers, maps)
        super().play(part, powers, maps=maps, **how)


def test_in_layers_each_text_has_its_own_power_at_home_and_the_others_elsewhere(mame, case):
    """By hand: left half of two texts (1, -2), right half of one (-1); what to avoid has 0.5."""
    cast, (left, right) = Noted([Role(case("lora").network)]), halves()
    avoided = Words("bad", ((0.5, 0.0),))
    a, b, c = (Words(t, ((p, 0.0),)) for t, p in (("a", 1.0), ("b", -2.0), ("c", -1.0)))
    areas = (Area(avoided, ((a, 1.0), (b, 1.0)), left), Area(avoided, ((c, 1.0),), right))
    step(mame, cast, areas, "layers")
    powers, maps = cast.noted
    assert [row[0][0] for row in powers] == [0.5, 1, -2, -1]
    seen = [(m[:, :8].unique().tolist(), m[:, 8:].unique().tolist()) for m in maps[0]]
    assert seen == [([0.5], [0.5]), ([1], [-1]), ([-2], [-1]), ([-2], [-1])]


@pytest.mark.parametrize("way", ["whole", "windows"])
def test_regions_are_blended_predictions(mame, way: Way):
    """Beside predictions computed alone: of the whole picture, or of each half as a picture."""
    x = torch.randn(1, 4, 8, 16, generator=torch.Generator().manual_seed(1))
    texts, masks = ("red hair", "blue hair"), halves()
    areas = tuple(
        Area(Words("bad"), ((Words(t), 1.0),), m) for t, m in zip(texts, masks, strict=True)
    )
    with torch.no_grad(), Cast().on_stage():
        got = predictor(mame, [Scene(SHOT, areas, way)], Cast(), (128, 64))(x, TIME)
        found = []
        for text, half in zip(texts, (slice(0, 8), slice(8, 16)), strict=True):
            seen = x[..., half] if way == "windows" else x
            both = mame.predict(
                seen.repeat(2, 1, 1, 1), TIME.expand(2), mame.encode_text(["bad", text])
            )
            one = both[0] + 4 * (both[1] - both[0])
            found.append(one if way == "windows" else one[..., half])
    torch.testing.assert_close(got[0], torch.cat(found, -1), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("way", ["whole", "windows"])
def test_a_regions_lora_leaves_the_other_region_bit_identical(mame, case, way: Way):
    x = torch.randn(1, 4, 8, 16, generator=torch.Generator().manual_seed(1))
    cast, seen = Cast([Role(case("lora").network)]), []
    for power in ((0.1, 0.2), FULL):  # of equal texts at equal strengths there would be one row
        areas = tuple(
            Area(Words("", (p,)), ((Words(t, (p,)), 1.0),), m)
            for t, p, m in zip("ab", (NONE, power), halves(), strict=True)
        )
        with torch.no_grad(), cast.on_stage():
            seen.append(predictor(mame, [Scene(SHOT, areas, way)], cast, (128, 64))(x, TIME))
    assert torch.equal(seen[0][..., :8], seen[1][..., :8])
    assert not torch.equal(seen[0][..., 8:], seen[1][..., 8:])


@pytest.mark.parametrize("name", CONFIGS)
def test_in_layers_a_lora_changes_its_places_alone(mame, case, name: str):
    """Tokens and convolutions, at the resolution of each layer, for every algorithm."""
    generator, checked = torch.Generator().manual_seed(2), set()
    where = torch.zeros(1, 16, 16)
    where[:, :, 8:] = 1
    for member in case(name).network.members.values():
        spec, layer, path = member.adapter.spec, member.target.layer, member.target.path
        if member.part != "unet" or any(told in path for told in _TOLD) or spec.kind in checked:
            continue
        checked.add(spec.kind)
        image = spec.kind in {"conv2d", "group_norm"}
        shape = (1, spec.inputs, 8, 8) if image else (1, 64, spec.inputs)
        x, base = torch.randn(shape, generator=generator), Host.of(layer)._base
        with torch.no_grad():
            got, plain, full = (
                member.adapter.run(x, base, layer, s) for s in (where, 0.0, torch.ones(1))
            )
        got, plain, full = (
            y if image else y.transpose(1, 2).unflatten(2, (8, 8)) for y in (got, plain, full)
        )
        half = got.shape[-1] // 2
        assert torch.equal(got[..., :half], plain[..., :half])
        torch.testing.assert_close(got[..., half:], full[..., half:], rtol=1e-4, atol=1e-4)
        assert not torch.equal(got[..., half:], plain[..., half:])
    assert checked


def test_a_map_is_made_as_small_as_the_layer():
    """Beside torch's own average pooling, and odd sides halved upwards as U-Nets do."""
    area = torch.rand(2, 8, 12, generator=torch.Generator().manual_seed(0))
    small = functional.avg_pool2d(area[:, None], 2)
    torch.testing.assert_close(rows(area, torch.zeros(2, 5, 4, 6)), small)
    tokens = rows(area, torch.zeros(2, 24, 5, dtype=torch.bfloat16))
    assert tokens.dtype == torch.bfloat16
    torch.testing.assert_close(tokens.float(), small.flatten(2).transpose(1, 2), rtol=0, atol=4e-3)
    assert rows(torch.ones(1, 9, 5), torch.zeros(1, 15, 2)).shape == (1, 15, 1)
    with pytest.raises(ValueError, match="does not fit"):
        rows(area, torch.zeros(2, 77, 5))


MASKS = some.lists(
    some.tuples(*[some.integers(0, 19)] * 2, *[some.integers(1, 12)] * 2), min_size=1, max_size=3
)


@given(MASKS)
def test_windows_hold_their_areas_and_shares_make_one(boxes):
    places = [torch.zeros(20, 28) for _ in boxes]
    for mask, (top, left, height, width) in zip(places, boxes, strict=True):
        mask[top : top + height, left : left + width] = 1
    found = shares([*places, (1 - torch.stack(places).sum(0)).clamp(0) + 1e-3], 20, 28, CPU)
    torch.testing.assert_close(torch.stack(found).sum(0), torch.ones(20, 28))
    seen = windows(found)
    first = torch.stack(found).argmax(0)
    for place, box in enumerate(seen):
        assert box.height % 8 == 0 or box.height == 20
        assert box.width % 8 == 0 or box.width == 28
        assert box.top >= 0 <= box.left
        assert box.bottom <= 20
        assert box.right <= 28
        there = (first == place).nonzero()
        assert all(
            box.top <= y < box.bottom and box.left <= x < box.right for y, x in there.tolist()
        )
    torch.testing.assert_close(torch.stack(inside(found, seen)).sum(0), torch.ones(20, 28))


def test_a_place_of_no_area_is_a_defect_of_the_caller():
    with pytest.raises(ValueError, match="no area"):
        shares([torch.zeros(4, 4)], 4, 4, CPU)


@pytest.fixture
def flag(tmp_path: Path) -> Path:
    """Red, green and a grey stripe."""
    pixels = np.full((40, 100, 3), 128, np.uint8)
    pixels[:, :40], pixels[:, 60:] = (255, 0, 0), (10, 240, 5)
    Image.fromarray(pixels).save(tmp_path / "flag.png")
    return tmp_path / "flag.png"


def test_colours_become_masks_that_make_one(flag: Path):
    found = [regions.parse("red=a"), regions.parse("#00ff00:0.8=b = c")]
    assert found[1] == UsedRegion(colour="#00ff00", prompt="b = c", strength=0.8)
    red, green, rest = regions.read(flag, found, 0, (200, 80))
    assert {mask.shape for mask in (red, green, rest)} == {(80, 200)}
    np.testing.assert_allclose(red + green + rest, 1, atol=1e-6)
    columns = [(red[40, x], green[40, x], rest[40, x]) for x in (10, 100, 190)]
    np.testing.assert_allclose(columns, [(1, 0, 0), (0, 0, 1), (0, 0.8, 0.2)], atol=1e-6)
    soft = regions.read(flag, found, 16, (200, 80))[0][40]
    assert (np.diff(soft) <= 1e-6).all()
    assert 0.4 < soft[80] < 0.6
    assert 10 <= ((soft > 0.02) & (soft < 0.98)).sum() <= 48


def test_regions_over_everything_leave_no_rest(flag: Path):
    found = [regions.parse(f"{c}=x") for c in ("red", "#00ff00", "#808080")]
    assert not regions.read(flag, found, 12, (64, 64))[-1].any()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("red", "is not of the form COLOUR=PROMPT"),
        ("red=", "is not of the form COLOUR=PROMPT"),
        ("rot=a", "'rot' is no colour"),
        ("red:2=a", "'2' is no strength"),
        ("red:x=a", "'x' is no strength"),
    ],
)
def test_mistakes_in_a_region_are_told(text: str, message: str):
    with pytest.raises(UserError, match=message):
        regions.parse(text)


def test_mistakes_in_the_picture_are_told(flag: Path, tmp_path: Path):
    with pytest.raises(UserError, match="has no pixel of 'blue'. It has #ff0000, #0af005, #808080"):
        regions.read(flag, [regions.parse("blue=a")], 0, (64, 64))
    with pytest.raises(UserError, match="names a colour twice"):
        regions.read(flag, [regions.parse("red=a"), regions.parse("#f00=b")], 0, (64, 64))
    (tmp_path / "no.png").write_text("no")
    for name, message in (("no.png", "is no picture"), ("absent.png", "cannot be read")):
        with pytest.raises(UserError, match=message):
            regions.read(tmp_path / name, [regions.parse("red=a")], 0, (64, 64))
