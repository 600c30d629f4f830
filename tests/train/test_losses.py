"""Proof of numerics: the losses of two short runs, as they were when the numbers were checked.

Computed on mame in fp32 on a CPU with one thread. A change that is meant to move them (another
draw, key, order, model or initialisation) replaces the lists: run ``pytest
tests/train/test_losses.py``, read the new list in the failure, check that it is what the change
should do, and paste it here. Any other change must leave them alone.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from renma.config.run_tasks import TrainOptions
from renma.core.events import Silent, read_events
from renma.train import task

DEFAULT = [0.463944, 0.562923, 0.290236, 0.346022, 0.189925, 0.251752]
CROSSED = [0.227613, 0.296946, 0.232662, 0.119491, 0.305801, 0.310409]
VALUES = (
    "data.flip_aug=true", "data.caption_tag_dropout_rate=0.3", "objective.noise_offset=0.1",
    "objective.min_snr_gamma=5", "train.gradient_accumulation_steps=2", "schedule.name=cosine",
)  # fmt: skip


@pytest.mark.parametrize(("values", "expected"), [((), DEFAULT), (VALUES, CROSSED)])
def test_losses_are_the_stored_ones(project: Path, values: tuple[str, ...], expected: list[float]):
    for path in project.rglob("*.png"):  # not their own mirror image
        picture = Image.open(path).convert("RGB")
        picture.paste("orange", (0, 0, 20, 64))
        picture.save(path)
    values = ("train.device=cpu", *values)
    options = TrainOptions(run=project / "run.toml", set=values, out=project / "a")
    task.run(options, Silent())
    rows = read_events(project / "a" / "events.jsonl")
    losses = [round(row["loss"], 6) for row in rows if row["kind"] == "step"]
    assert losses == pytest.approx(expected, rel=1e-4), losses
