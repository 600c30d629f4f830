"""LoRA files that a run began with: known by the bytes that were used, not by those there later (G5)."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from renma.config.adapter import Lora
from renma.config.run_tasks import TrainOptions
from renma.core.errors import UserError
from renma.core.events import Silent
from renma.engine.network import Network
from renma.formats import safetensors
from renma.train import task
from renma.train.loop import Trainer


@pytest.fixture
def base(project: Path, mame) -> Path:
    """A LoRA to begin with."""
    path = project / "first.safetensors"
    write(path, mame, 1)
    return path


def write(path: Path, family, seed: int) -> None:
    network = Network.fresh(family, Lora(rank=1), seed, ("unet",))
    tensors = {name: t + 0.01 for name, t in network.tensors().items()}
    safetensors.save(path, {name: t.to(torch.float32) for name, t in tensors.items()}, {})


def train(project: Path, steps: int, resume: bool = False) -> None:
    values = (
        "start.base_weights=['first.safetensors']", f"train.max_steps={steps}",
        "train.save_every_steps=1", "train.text_encoder=false",
    )  # fmt: skip
    options = TrainOptions(run=project / "run.toml", set=values, out=project / "out", resume=resume)
    task.run(options, Silent())


def after_first_step(monkeypatch, act) -> None:
    really = Trainer.step

    def step(one: Trainer):
        result = really(one)
        if one.counters.step == 1:
            act()
        return result

    monkeypatch.setattr(Trainer, "step", step)


def test_a_file_replaced_while_the_run_is_at_work_is_noticed(
    project: Path, base: Path, mame, monkeypatch
):
    after_first_step(monkeypatch, lambda: write(base, mame, 2))
    train(project, 3)
    with pytest.raises(UserError, match=r"first\.safetensors\) changed since this run began"):
        train(project, 5, resume=True)


def test_a_file_removed_while_the_run_is_at_work_does_not_end_it(
    project: Path, base: Path, monkeypatch
):
    after_first_step(monkeypatch, base.unlink)
    train(project, 3)
    assert (project / "out" / "lora" / "lora.safetensors").exists()
