"""The loss on held-out pictures (issue 4, Build 2; kohya.md 5.10): disjoint, fixed, free of effect."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from renma.config.tasks import TrainOptions
from renma.core.events import Silent, read_events
from renma.formats import safetensors
from renma.train import task

SPLIT = ("data.validation_split=0.4", "train.validate_every_steps=2")


@pytest.fixture
def larger(project: Path) -> Path:
    """Twelve training pictures, so that some are held out."""
    folder = project / "train" / "2_aa12 person"
    for number in range(9):
        colour = (20 * number, 255 - 20 * number, 128)
        Image.new("RGB", (64, 64), colour).save(folder / f"more{number}.png")
        (folder / f"more{number}.txt").write_text(f"aa12, number {number}")
    return project


def trained(project: Path, name: str, *values: str) -> tuple[dict[str, torch.Tensor], list[dict]]:
    task.run(TrainOptions(run=project / "run.toml", set=values, out=project / name), Silent())
    rows = list(read_events(project / name / "events.jsonl"))
    return dict(safetensors.read_tensors(project / name / "lora" / "lora.safetensors")), rows


def measured(rows: list[dict]) -> list[tuple[int, float]]:
    return [(row["step"], row["loss"]) for row in rows if row["kind"] == "validated"]


def test_held_out_loss_is_measured_before_at_times_and_at_the_end(larger: Path):
    _, rows = trained(larger, "a", *SPLIT, "train.validate_every_epochs=0")
    assert [step for step, _ in measured(rows)] == [0, 2, 4, 6]
    assert len({loss for _, loss in measured(rows)}) == 4


def test_measuring_does_not_change_training_and_is_the_same_every_time(larger: Path):
    """A rate of 0 for the U-Net keeps it as it is: equal losses show that nothing else is random."""
    often, rows = trained(larger, "often", *SPLIT)
    never, _ = trained(
        larger, "never", SPLIT[0], "train.validate_every_epochs=0", "train.validate_every_steps=0"
    )
    assert all(torch.equal(often[name], never[name]) for name in often)
    _, still = trained(
        larger, "still", *SPLIT, "optimizer.learning_rate=1e-12", "adapter.alpha=1e-6"
    )
    losses = [loss for _, loss in measured(still)]
    assert losses == pytest.approx([losses[0]] * len(losses), rel=1e-6)
    assert losses[0] == pytest.approx(measured(rows)[0][1], rel=1e-6)


def test_without_held_out_pictures_nothing_is_measured(larger: Path):
    _, rows = trained(larger, "a", "train.validate_every_steps=2")
    assert not measured(rows)
