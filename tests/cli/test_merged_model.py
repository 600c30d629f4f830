"""`relora.merged`: the base model with all cycles in it, beside the LoRA (rows A9, A13)."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from renma import assets
from renma.cli import train
from renma.config.model import ModelConfig
from renma.config.run_tasks import TrainOptions
from renma.core.events import Silent
from renma.engine.model import load_family
from renma.engine.network import Network

RUN = """
[model]
path = "base"
[data]
train_folder = "train"
resolution = 64
[adapter]
rank = 2
alpha = 2
[optimizer]
learning_rate = 3e-3
[relora]
every_steps = 2
merged = true
[train]
max_steps = 5
text_encoder = false
threads = 1
precision = "fp32"
tensorboard = false
[output]
precision = "fp32"
name = "aa12"
"""


class Heard(Silent):
    """Keeps what is warned of."""

    def __init__(self) -> None:
        self.warned: list[str] = []

    def event(self, kind: str, **data: Any) -> None:
        if kind == "warned":
            self.warned.append(data["text"])


@pytest.fixture
def project(tmp_path: Path) -> Path:
    shutil.copytree(assets.MAME, tmp_path / "base")
    pictures = tmp_path / "train" / "1_aa12"
    pictures.mkdir(parents=True)
    for colour in ("red", "blue"):
        Image.new("RGB", (64, 64), colour).save(pictures / f"{colour}.png")
        (pictures / f"{colour}.txt").write_text(f"aa12, {colour}")
    (tmp_path / "run.toml").write_text(RUN)
    return tmp_path


def trained(project: Path, resume: bool = False, **options: Any) -> tuple[Path, list[str]]:
    heard = Heard()
    values = tuple(f"{name.replace('_', '.', 1)}={value}" for name, value in options.items())
    out = project / "out"
    train.run(TrainOptions(run=project / "run.toml", out=out, resume=resume, set=values), heard)
    return out, heard.warned


def output(path: Path, lora: Path | None = None) -> torch.Tensor:
    family: Any = load_family(ModelConfig(path=str(path)), device="cpu")
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(1, 4, 8, 8, generator=generator)
    states = torch.randn(1, 77, family.unet.config.cross_attention_dim, generator=generator)
    if lora:
        Network.from_file(family, lora).attach()
    with torch.no_grad():
        return family.unet(x, torch.tensor([300]), states).sample


def test_it_is_the_base_with_the_lora_in_its_own_precision(project: Path):
    out, _ = trained(project)
    merged, lora = out / "merged" / "aa12", out / "lora" / "aa12.safetensors"
    expected, plain = output(project / "base", lora), output(project / "base")
    difference = (output(merged) - expected).norm() / (expected - plain).norm()
    assert difference < 0.1  # mame is stored in few bits
    assert (expected - plain).abs().max() > 0.01


def test_it_is_written_again_for_a_newer_lora_and_only_then(project: Path):
    out, _ = trained(project)
    merged = out / "merged" / "aa12" / "model_index.json"
    os.utime(out / "lora" / "aa12.safetensors", (1, 1))
    first = merged.stat().st_mtime_ns
    trained(project, resume=True)
    assert merged.stat().st_mtime_ns == first
    trained(project, resume=True, train_max_steps=6)
    assert merged.stat().st_mtime_ns > first


def test_a_model_that_cannot_be_written_costs_no_lora(project: Path):
    (project / "out").mkdir()
    (project / "out" / "merged").write_text("a file is in the way of the folder")
    out, warned = trained(project)
    assert any("no merged model" in text for text in warned)
    assert (out / "lora" / "aa12.safetensors").exists()


def test_no_run_without_it_writes_one(project: Path):
    out, _ = trained(project, relora_merged="false")
    assert not (out / "merged").exists()
