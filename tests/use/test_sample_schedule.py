"""``renma sample RUN`` draws with the noise schedule that the run was trained with. Row E8."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from renma.cli.app import main
from renma.config.model import ModelConfig
from renma.drawing import drawn_file
from renma.drawing.picture_source import Source
from renma.families import _twins
from testbed.runs import train

RUN = """
[model]
path = "sd2-v"
[data]
train_folder = "train"
resolution = 64
[adapter]
rank = 2
alpha = 2
[objective]
zero_terminal_snr = true
[sample]
prompts = ["a --w 64 --h 96 --d 3 --s 3 --l 4"]
every_steps = 1
[train]
max_steps = 1
precision = "fp32"
device = "cpu"
threads = 1
tensorboard = false
"""
HOW = ("--width", "64", "--height", "96", "--seed", "3", "--steps", "3", "--cfg", "4")


def levels(one: Image.Image, other: Image.Image) -> int:
    return int(np.abs(np.asarray(one, int) - np.asarray(other, int)).max())


def opened(path: Path) -> Image.Image:
    with Image.open(path) as picture:
        return picture.convert("RGB")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    _twins.tiny("sd2-v", tmp_path, seed=3, layout="folder")
    (tmp_path / "train" / "1_a").mkdir(parents=True)
    Image.new("RGB", (64, 64), "red").save(tmp_path / "train" / "1_a" / "a.png")
    (tmp_path / "run.toml").write_text(RUN)
    return train(tmp_path, "out")


def sample(out: Path, *words: str) -> Path:
    assert main(["sample", *words, "--device", "cpu", "-o", str(out)]) == 0
    (path,) = out.glob("0*.png")
    return path


def test_previews_samples_and_grids_of_a_zero_terminal_run_are_the_same(
    run: Path, tmp_path: Path, capsys
):
    """And the picture is drawn again so; with the model's own schedule it is another."""
    (shown,) = (p for p in (run / "samples").rglob("*.png") if opened(p).size == (64, 96))
    preview = opened(shown)
    path = sample(tmp_path / "o", str(run), "--prompt", "a", *HOW)
    assert levels(preview, opened(path)) <= 1
    assert drawn_file.read(path).zero_terminal_snr is True
    assert "Noise Schedule: Zero Terminal SNR" in opened(path).info["parameters"]
    again = sample(tmp_path / "p", str(run), "--again", str(path))
    assert levels(opened(again), opened(path)) == 0
    (lora,) = (run / "lora").glob("lora.safetensors")
    grid = ["grid", str(run), "--x", "weight=1", "--prompt", "a --w 64 --h 96 --d 3 --s 3 --l 4"]
    assert main([*grid, "--device", "cpu"]) == 0
    (cell,) = (run / "cells").glob("*.png")
    assert levels(preview, opened(cell)) <= 1
    plain = ("--prompt", "a", "--lora", str(lora), *HOW)
    other = sample(tmp_path / "q", str(tmp_path / "sd2-v"), *plain)
    assert levels(opened(other), opened(path)) > 10
    assert other.name != path.name
    capsys.readouterr()


@pytest.mark.parametrize(
    ("own", "asked", "is_run", "expected"),
    [
        (True, None, True, True),
        (True, False, True, False),
        (False, None, True, None),
        (False, True, True, True),
        (True, None, False, None),
    ],
)
def test_a_run_says_its_schedule_where_the_models_own_would_draw_otherwise(
    own, asked, is_run, expected
):
    facts: Any = SimpleNamespace(scheduler={"rescale_betas_zero_snr": own})
    lora = Path("x.safetensors") if is_run else None
    source = Source(ModelConfig(), lora=lora, zero_terminal_snr=asked)
    assert source.schedule(facts) is expected
