"""``renma blocks``: figures computed by hand on painted pictures. Rows F2 and F7."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from renma.config.blocks_task import BlocksOptions
from renma.config.picture_recipe import Recipe
from renma.core.errors import UserError
from renma.judge.blocks import analyse, open_subject

LABELS = [
    "BASE", *(f"IN{i:02d}" for i in range(12)), "M00", *(f"OUT{i:02d}" for i in range(12)),
]  # fmt: skip
PRESETS = {
    "INS": {"IN01", "IN02"},
    "IND": {"IN05", "IN07", "IN08"},
    "INALL": {"IN01", "IN02", "IN04", "IN05", "IN07", "IN08"},
    "MIDD": {"IN05", "IN07", "IN08", "M00", "OUT03", "OUT04", "OUT05", "OUT06"},
    "OUTD": {"OUT03", "OUT04", "OUT05", "OUT06"},
    "OUTS": {"OUT07", "OUT08", "OUT09", "OUT10", "OUT11"},
    "OUTALL": {f"OUT{i:02d}" for i in range(3, 12)},
}
"""Of sd-webui-lora-block-weight, written out; BASE always acts."""
LAYERS = {
    "IN01": "lora_unet_down_blocks_0_attentions_0_proj_in",
    "M00": "lora_unet_mid_block_attentions_0_proj_in",
    "OUT05": "lora_unet_up_blocks_2_attentions_1_proj_in",
    "BASE": "lora_te_text_model_encoder_layers_0_mlp_fc1",
}


class World:
    """Paints 10 x 10 pixels: seed n is grey 10 n, and each block adds what is known.

    IN01 adds 90 to red in 40 pixels, M00 adds 30 to everything in 10, OUT05 adds 10 to blue in
    all 100; a block that is not in ``blocks`` adds nothing.
    """

    adds: ClassVar[dict[str, int]] = {"IN01": 90, "M00": 30, "OUT05": 10}

    def __init__(self, folder: Path, blocks: Sequence[str] = ("IN01", "M00", "OUT05")) -> None:
        self.folder, self.blocks = folder, blocks
        self.asked: list[str] = []

    def paint(self, recipes: Sequence[Recipe]) -> list[Path]:
        paths = []
        for recipe in recipes:
            loras = [lora for lora in recipe.loras if lora.unet]
            text = loras[-1].blocks if loras else "none"
            self.asked.append(text)
            path = self.folder / f"{len(self.asked):04d}.png"
            Image.fromarray(self.picture(recipe.prompt.seed or 0, acting(text))).save(path)
            paths.append(path)
        return paths

    def picture(self, seed: int, on: set[str]) -> np.ndarray:
        pixels = np.full((10, 10, 3), 10 * seed, np.uint8)
        on = on & set(self.blocks)
        pixels[:, :4, 0] += self.adds["IN01"] * ("IN01" in on)
        pixels[:, 4, :] += self.adds["M00"] * ("M00" in on)
        pixels[..., 2] += self.adds["OUT05"] * ("OUT05" in on)
        return pixels


def acting(text: str) -> set[str]:
    if text in ("", "none"):
        return set(LABELS) if not text else set()
    if text in PRESETS:
        return PRESETS[text] | {"BASE"}
    values = text.split(",")
    assert len(values) == len(LABELS)
    return {label for label, value in zip(LABELS, values, strict=True) if float(value)}


def write(path: Path, blocks: Sequence[str]) -> Path:
    tensors = {}
    for key in (LAYERS[block] for block in blocks):
        tensors |= {f"{key}.lora_up.weight": torch.ones(4, 1)}
        tensors |= {f"{key}.lora_down.weight": torch.ones(1, 4)}
    save_file(tensors, path)
    return path


@pytest.fixture
def judged(tmp_path: Path, lines: Any):
    """Returns the JSON of an analysis of a LoRA in a world of its own."""

    def judge(blocks: Sequence[str] = ("IN01", "M00", "OUT05"), **options: Any) -> dict[str, Any]:
        file = write(tmp_path / "hero.safetensors", blocks)
        given = {"model": "mame", "prompt": "person", "out": tmp_path / "page.html"} | options
        chosen = BlocksOptions(lora=file, **given)
        world = World(tmp_path, blocks)
        return analyse(chosen, open_subject(chosen), world, lines)

    return judge


def by_name(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in rows}


def test_shares_and_means_are_those_computed_by_hand(judged: Any) -> None:
    """Rows F2 and F7."""
    found = judged()
    whole = found["whole"]["from_base"]
    # red 90 in 40, all three 30 in 10, blue 10 in 100 of 300 numbers
    assert (whole["percent"], whole["mean"]) == (50, pytest.approx(5500 / 300, abs=1e-4))
    blocks = by_name(found["blocks"])
    for name, percent, mean in (("IN01", 40, 12), ("M00", 10, 3), ("OUT05", 0, 10 / 3)):
        for way, against in (("off", "from_whole"), ("only", "from_base")):
            got = blocks[name][way][against]
            assert (got["percent"], got["mean"]) == (percent, pytest.approx(mean, abs=1e-4)), name
            assert got["percent_error"] == 0
    # against the other side: what IN01 leaves over is M00 in 10 pixels, OUT05 below the threshold
    assert blocks["IN01"]["off"]["from_base"]["percent"] == 10
    assert blocks["IN01"]["only"]["from_whole"]["percent"] == 10
    assert found["carrying"] == ["IN01", "OUT05", "M00"]
    assert blocks["IN01"]["weight"] == pytest.approx(12 / (5500 / 300), abs=1e-4)


def test_the_threshold_decides_what_has_changed(judged: Any) -> None:
    for threshold, percent in ((9, 100), (10, 0), (20, 0)):
        blocks = by_name(judged(threshold=threshold)["blocks"])
        assert blocks["OUT05"]["only"]["from_base"]["percent"] == percent


def test_loss_is_measured_against_pictures_of_other_seeds(judged: Any) -> None:
    """The whole LoRA's pictures are 10 |s - t| apart: 20, 13 1/3, 13 1/3 and 20 from the others."""
    found = judged()
    assert found["spread"] == pytest.approx(50 / 3, abs=1e-4)
    assert found["noise"] == pytest.approx(np.std([20, 40 / 3, 40 / 3, 20], ddof=1), abs=1e-4)
    loss = {
        name: row["off"]["loss"] for name, row in by_name(found["blocks"]).items() if row["off"]
    }
    # where a block is missing, two seeds are on average as far apart as the block is strong
    assert loss["IN01"] == pytest.approx(40 / 300 * (90 - 50 / 3), abs=1e-4)
    assert loss["M00"] == pytest.approx(10 / 100 * (30 - 50 / 3), abs=1e-4)
    assert loss["OUT05"] == pytest.approx(0, abs=1e-4)
    # no more is lost than noise, but the one does 16 % of what the LoRA does, the other 18 %
    within = [
        name
        for name, row in by_name(found["blocks"]).items()
        if row["off"] and row["off"]["within_noise"]
    ]
    assert within == ["M00", "OUT05"]
    assert found["dispensable"] == []
    assert any(text.startswith("Of no block is it sure") for text in found["verdict"])


def test_what_changes_little_can_be_off(judged: Any, monkeypatch: Any, lines: Any) -> None:
    """M00 does 180 and OUT05 200 of 3980: 9.5 % at once."""
    monkeypatch.setattr(World, "adds", {"IN01": 90, "M00": 6, "OUT05": 2})
    found = judged()
    off = {name: row["off"] for name, row in by_name(found["blocks"]).items() if row["off"]}
    assert off["M00"]["share"] == pytest.approx(180 / 3980, abs=1e-4)
    assert off["M00"]["share_error"] == 0
    assert {name: one["can_be_off"] for name, one in off.items()} == {
        "IN01": False, "M00": True, "OUT05": True,
    }  # fmt: skip
    assert found["dispensable"] == found["spare"]["blocks"] == ["M00", "OUT05"]
    assert acting(found["spare"]["strengths"]) == set(LABELS) - {"M00", "OUT05"}
    assert any("even all at once: --blocks hero=1,1,1" in text for text in found["verdict"])
    assert any("less than 10 %" in text and "4 seeds" in text for text in found["verdict"])
    said = [line.split()[0] for line in lines.lines if line.endswith("can be off")]
    assert said == ["M00", "OUT05"]


def test_what_each_could_spare_may_be_too_much_at_once(judged: Any, monkeypatch: Any) -> None:
    """M00 does 360 and OUT05 400 of 4360: 8 % and 9 %, but 17 % at once."""
    monkeypatch.setattr(World, "adds", {"IN01": 90, "M00": 12, "OUT05": 4})
    found = judged()
    assert found["dispensable"] == ["M00", "OUT05"]
    assert found["all_off"]["share"] == pytest.approx(760 / 4360, abs=1e-4)
    assert (found["all_off"]["within_noise"], found["all_off"]["can_be_off"]) == (True, False)
    # the one that changes the picture least on its own
    assert found["spare"]["blocks"] == ["M00"]
    (text,) = [text for text in found["verdict"] if "not all at once" in text]
    assert "changes 17.4 % (17.4 % with 2 standard errors) of what the LoRA changes" in text
    assert "this one: M00, by --blocks hero=" in text


def other_content(seed: int, lora: bool) -> np.ndarray:
    """Returns a picture whose one bright row no other has: any two are equally far apart."""
    pixels = np.zeros((10, 10, 3), np.uint8)
    pixels[2 * seed + lora] = 250
    return pixels


def shifted(seed: int, lora: bool) -> np.ndarray:
    """Returns a picture of random levels, all of them raised by 6."""
    random = np.random.default_rng(seed).integers(0, 240, (32, 32, 3), np.uint8)
    return random + np.uint8(6 * lora)


@pytest.mark.parametrize("content", [other_content, shifted])
def test_what_does_everything_cannot_be_off(judged: Any, monkeypatch: Any, content: Any) -> None:
    """Row F2: without it no picture is farther from those of other seeds, so nothing is "lost"."""

    def picture(self: World, seed: int, on: set[str]) -> np.ndarray:
        return content(seed, "IN01" in on)

    monkeypatch.setattr(World, "picture", picture)
    found = judged()
    blocks = by_name(found["blocks"])
    assert blocks["IN01"]["off"]["loss"] <= found["noise"]
    assert blocks["IN01"]["off"]["share"] == 1
    assert blocks["IN01"]["off"]["can_be_off"] is False
    # the others have layers and no effect
    assert found["dispensable"] == found["spare"]["blocks"] == ["M00", "OUT05"]


def test_little_has_to_be_sure(judged: Any, monkeypatch: Any) -> None:
    """M00 changes one of four seeds, by 24 %: 6 %, but with a standard error of 6 %."""

    def picture(self: World, seed: int, on: set[str]) -> np.ndarray:
        pixels = np.full((10, 10, 3), 10 * seed, np.uint8) + np.uint8(50 * ("IN01" in on))
        pixels[:, :6] -= np.uint8(20 * ("M00" not in on and seed == 2 and "IN01" in on))
        return pixels

    monkeypatch.setattr(World, "picture", picture)
    off = by_name(judged()["blocks"])["M00"]["off"]
    assert off["share"] == pytest.approx(0.06, abs=1e-4)
    assert off["share_error"] == pytest.approx(np.std([0, 0, 0.24, 0], ddof=1) / 2, abs=1e-4)
    assert (off["within_noise"], off["can_be_off"]) == (True, False)


def test_little_that_is_lost_in_every_picture_cannot_be_off(judged: Any, monkeypatch: Any) -> None:
    """Where all seeds give the same picture, any change leads away from them."""
    monkeypatch.setattr(World, "adds", {"IN01": 90, "M00": 6, "OUT05": 0})
    picture = World.picture
    monkeypatch.setattr(World, "picture", lambda self, seed, on: picture(self, 0, on))
    found = judged()
    off = by_name(found["blocks"])["M00"]["off"]
    assert off["share"] < 0.05
    assert (found["noise"], off["within_noise"], off["can_be_off"]) == (0, False, False)
    assert found["dispensable"] == ["OUT05"]


def test_few_seeds_say_nothing_about_loss(judged: Any) -> None:
    found = judged(seeds=2)
    assert (found["noise"], found["spare"], found["dispensable"]) == (None, None, [])
    off = found["blocks"][2]["off"]
    assert (off["loss"], off["share_error"], off["can_be_off"]) == (None, None, None)
    assert any("--seeds 3 or more" in text for text in found["verdict"])
    assert judged(seeds=1)["whole"]["from_base"]["percent_error"] is None


def test_blocks_without_layers_are_named_and_not_drawn(judged: Any, lines: Any) -> None:
    found = judged(("M00",), seeds=1)
    blocks = by_name(found["blocks"])
    # mame has one layer a down block: four blocks of 2 on the way down, of 2 on the way up
    assert list(blocks) == [
        "BASE", *(f"IN{i:02d}" for i in range(8)), "M00", *(f"OUT{i:02d}" for i in range(8)),
    ]  # fmt: skip
    assert [name for name, row in blocks.items() if row["drawn"]] == ["M00"]
    assert blocks["IN01"]["off"] is blocks["IN01"]["only"] is None
    (text,) = [text for text in found["verdict"] if "no layers" in text]
    assert "BASE, IN00, IN01" in text
    assert "M00" not in text


def test_presets_let_their_blocks_act(judged: Any) -> None:
    """Row F2."""
    found = judged(("IN01", "OUT05", "BASE"), presets=True)
    presets = by_name(found["presets"])
    assert list(presets) == list(PRESETS)
    wanted = {"INS": (40, 12), "INALL": (40, 12), "MIDD": (0, 10 / 3), "OUTALL": (0, 10 / 3)}
    for name, (percent, mean) in wanted.items():
        got = presets[name]["only"]["from_base"]
        assert (got["percent"], got["mean"]) == (percent, pytest.approx(mean, abs=1e-4)), name
    assert presets["INS"]["acting"] == ["BASE", "IN01"]
    # nothing of the U-Net is left: BASE alone is a row of its own
    assert [name for name, row in presets.items() if not row["drawn"]] == ["IND", "OUTS"]
    assert any(text.startswith("IND and OUTS reach no layer") for text in found["verdict"])


def test_a_lora_without_effect_is_called_so(judged: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(World, "picture", lambda self, seed, on: np.zeros((10, 10, 3), np.uint8))
    found = judged()
    assert found["verdict"][0].startswith("On this prompt the LoRA changes nothing")
    assert found["carrying"] == []
    assert not any("could be" in text for text in found["verdict"])


def test_terminal_and_json(judged: Any, lines: Any) -> None:
    judged()
    said = lines.lines
    (row,) = [line.split() for line in said if line.startswith("IN01 ")]
    assert row == ["IN01", "1", "40.0", "%", "12.0", "40.0", "%", "12.0", "9.8*"]
    lines.lines.clear()
    found = judged(json=True)
    assert len(lines.lines) == 1
    assert json.loads(lines.lines[0]) == found


def test_mistakes_are_told(tmp_path: Path, finished: Path, judged: Any) -> None:
    file = write(tmp_path / "a.safetensors", ["M00"])
    with pytest.raises(UserError, match="lies in no run.*--model"):
        open_subject(BlocksOptions(lora=file))
    with pytest.raises(UserError, match="Give --prompt"):
        judged(prompt="")
    with pytest.raises(UserError, match="names a LoRA itself"):
        judged(prompt="person <lora:other:1>")
    with pytest.raises(UserError, match="a run says itself"):
        open_subject(BlocksOptions(lora=finished, model="mame"))
    foreign = "lora_unet_down_blocks_3_attentions_0_proj_in"
    save_file({f"{foreign}.lora_up.weight": torch.ones(4, 1)}, file)
    options = BlocksOptions(lora=file, model="mame", prompt="x")
    with pytest.raises(UserError, match=f"'{foreign}' that the model does not have"):
        analyse(options, open_subject(options), World(tmp_path), None)  # pyright: ignore


def test_options_of_the_prompt_go_first(judged: Any, lines: Any) -> None:
    """Its seed is the first one; --seed, which then means nothing, is told."""
    assert judged(prompt="person --d 5")["seeds"] == [5, 6, 7, 8]
    assert not lines.events
    assert judged(prompt="person --d 5", seed=3)["seeds"] == [5, 6, 7, 8]
    ((kind, data),) = lines.events
    assert (kind, "--seed has no effect" in data["text"]) == ("warned", True)
    assert judged(seed=3, seeds=2)["seeds"] == [3, 4]


def test_a_run_says_what_to_draw(finished: Path, tmp_path: Path, lines: Any) -> None:
    """Its prompt, steps and guidance; the best LoRA where it was judged, else the last."""
    for path in (finished / "lora").glob("*"):
        write(path, ["M00"])
    options = BlocksOptions(lora=finished, seeds=1)
    subject = open_subject(options)
    assert (subject.lora.name, subject.page) == ("girl.safetensors", finished / "blocks.html")
    assert subject.cells == finished / "cells"
    assert analyse(options, subject, World(tmp_path), lines)["prompt"] == "aa12, smile"
    assert (finished / "blocks.html").is_file()
    assert (finished / "blocks.png").is_file()
    best = "lora/girl-step00000010.safetensors"
    (finished / "score.json").write_text(f'{{"best": "{best}"}}')
    assert open_subject(options).lora == finished / best
    # a file of it knows its run too
    named = open_subject(BlocksOptions(lora=finished / "lora" / "girl.safetensors"))
    assert (named.lora.name, named.source.model.path) == ("girl.safetensors", "mame")
