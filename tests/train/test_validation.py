"""The loss on held-out pictures (issue 4, Build 2; kohya.md 5.10): disjoint, fixed, free of effect."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from renma.config.run_tasks import TrainOptions
from renma.core.events import Silent, read_events
from renma.engine.latents import Entry
from renma.formats import safetensors
from renma.train import task, validation
from renma.train.feed import Fed, Feed
from renma.train.lessons import PictureLessons
from renma.train.plan import prepare
from renma.train.source import load
from renma.train.validation import Validation

SPLIT = ("data.validation_split=0.4", "train.validate_every_steps=2")
FEW = ("train.validate_every_epochs=0", "output.metadata=none")


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


def noises(project: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    """Returns the noise that each held-out picture is measured with, in the order of measuring."""
    found: dict[str, torch.Tensor] = {}
    asked: list[list[str]] = []
    condition, measure = PictureLessons.conditioned, validation.held_out_loss

    def conditioned(self: PictureLessons, batch: Fed) -> Any:
        asked.append(batch.names)
        return condition(self, batch)

    def measured(family: Any, schedule: Any, draws: Any, *rest: Any) -> torch.Tensor:
        noise = torch.stack([drawn.noise for drawn in draws], 1)
        assert all(torch.equal(found.get(n, x), x) for n, x in zip(asked[-1], noise, strict=True))
        found.update(zip(asked[-1], noise, strict=True))
        return measure(family, schedule, draws, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(PictureLessons, "conditioned", conditioned)
        patch.setattr(validation, "held_out_loss", measured)
        trained(project, name, *FEW, "data.validation_split=0.9", "train.max_steps=1")
    return found


def test_another_picture_changes_no_noise_of_the_others(
    larger: Path, monkeypatch: pytest.MonkeyPatch
):
    before = noises(larger, "a", monkeypatch)
    for number in range(5):
        path = larger / "train" / "2_aa12 person" / f"0new{number}.png"
        Image.new("RGB", (64, 64), (40 * number, 9, 90)).save(path)
        path.with_suffix(".txt").write_text("aa12, new")
    after = noises(larger, "b", monkeypatch)
    both = before.keys() & after.keys()
    assert len(both) > 8
    assert any(list(before).index(n) != list(after).index(n) for n in both), "none moved"
    assert all(torch.equal(before[name], after[name]) for name in both)
    rows = [noise.flatten()[:256] for noise in before.values()]
    assert len({tuple(row.tolist()) for row in rows}) == len(rows)


class Shelf:
    """Latents of zeros that counts how often one is asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def get(self, wanted: Any) -> Entry:
        self.asked.append(wanted.item.path.name)
        zeros = torch.zeros(4, wanted.fit.height // 8, wanted.fit.width // 8)
        return Entry(zeros, zeros)

    def encode(self, items: Any, pixels: Any) -> list[Entry]:
        assert not items
        assert not pixels
        return []


def held_out(project: Path, *values: str) -> tuple[Validation, Shelf]:
    source = load(project / "run.toml", None, ("data.validation_split=0.5", *values))
    latents: Any = Shelf()
    feed = Feed(source.run, prepare(source.run, source.base), latents)
    model: Any = None  # nothing is computed
    found = Validation.of(PictureLessons(source.run, model, model, feed, None), source.run)
    assert found is not None
    return found, latents


def test_latents_are_read_while_measuring_only(larger: Path):
    """They would fill the memory beside the cache, which has its own limit."""
    made, latents = held_out(larger)
    assert not latents.asked
    first, second = ([batch.names for batch in made.batches] for _ in range(2))
    assert first == second
    assert len(latents.asked) == 2 * sum(map(len, first)) == 12


def test_the_first_batches_are_of_all_sizes(larger: Path):
    for path in sorted((larger / "train").rglob("more[0-4].png")):
        with Image.open(path) as picture:
            wide = picture.resize((192, 64))
        wide.save(path)
    sizes: set[tuple[int, ...]] = set()
    for seed in range(12):
        given = (f"data.validation_seed={seed}", "data.batch_size=1")
        few = list(held_out(larger, "train.max_validation_batches=2", *given)[0].batches)
        every = list(held_out(larger, *given)[0].batches)
        assert len(few) == 2
        assert [batch.names for batch in few] == [batch.names for batch in every[:2]]
        sizes |= {tuple(few[0].moments[0][0].shape)}
    assert len(sizes) == 2


def test_the_text_encoder_that_is_trained_keeps_nothing_while_measured(
    larger: Path, monkeypatch: pytest.MonkeyPatch
):
    """Its graph would take the memory of a training step."""
    graphs: list[bool] = []
    learnt: list[bool] = []
    measure, condition = validation.held_out_loss, PictureLessons.conditioned

    def conditioned(self: PictureLessons, batch: Fed) -> Any:
        made = condition(self, batch)
        learnt.append(made[0].states.requires_grad)
        return made

    def measured(*args: Any) -> torch.Tensor:
        graphs.append(args[3].states.requires_grad)
        return measure(*args)

    monkeypatch.setattr(PictureLessons, "conditioned", conditioned)
    monkeypatch.setattr(validation, "held_out_loss", measured)
    trained(larger, "a", *FEW, "data.validation_split=0.2", "train.max_steps=1")
    assert graphs
    assert not any(graphs)
    assert any(learnt), "otherwise this test could not fail"
