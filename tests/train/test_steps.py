"""One optimizer step: batches averaged, rates, the cut of long gradients, steps that are NaN."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from renma.config.run_tasks import TrainOptions
from renma.core.errors import UserError
from renma.core.events import Silent, read_events
from renma.train import task
from renma.train.feed import Fed, Feed
from renma.train.loop import Trainer
from renma.train.plan import trained_parts
from testbed.trainers import feed_with, pictures, trainer

LINEAR = (
    # with eps far above the gradients AdamW moves by rate x gradient, so that their size shows
    "optimizer.eps=1", "optimizer.weight_decay=0", "optimizer.learning_rate=1",
)  # fmt: skip


class Given:
    """A feed of batches chosen by the test."""

    def __init__(self, batches: list[Fed]) -> None:
        self.batches = batches

    def count(self, number: int) -> int:
        return len(self.batches[number].captions)

    def batch(self, number: int, step: int = 0) -> Fed:
        return self.batches[number]


def part(batch: Fed, start: int, stop: int) -> Fed:
    return batch.rows(start, stop)


def poisoned(batch: Fed) -> Fed:
    return replace(batch, moments=[(mean * math.nan, std) for mean, std in batch.moments])


def optimizer_state(one: Trainer) -> list[torch.Tensor]:
    kept = one.optimizer.state_dict()["state"]
    return [t.clone() for row in kept.values() for t in row.values()]


def weights(one: Trainer) -> list[torch.Tensor]:
    return [p.detach().clone() for p in one.trained]


@pytest.mark.parametrize("cuts", [(0, 1, 2, 3), (0, 2, 3)], ids=["1+1+1", "2+1"])
def test_accumulated_steps_move_as_steps_on_the_whole_batch(project: Path, mame, cuts):
    """k batches in one step are one batch of all their pictures, also where sizes differ."""
    values = (*LINEAR, "train.max_grad_norm=0", "data.batch_size=3")
    with trainer(project, mame, *values) as one:
        found = (pictures(one).feed.batch(n) for n in range(20))
        whole = [batch for batch in found if len(batch.captions) == 3][:2]
        feed_with(one, Given(whole))
        started = weights(one)
        expected = [one.step() for _ in whole]
        moved = [after - before for after, before in zip(weights(one), started, strict=True)]
    pieces = len(cuts) - 1
    values = (*values, f"train.gradient_accumulation_steps={pieces}")
    with trainer(project, mame, *values) as other:
        feed_with(other, Given([part(b, *c) for b in whole for c in itertools.pairwise(cuts)]))
        for result in expected:
            got = other.step()
            assert got.loss == pytest.approx(result.loss, rel=1e-4)
            assert got.grad_norm == pytest.approx(result.grad_norm, rel=1e-3)
            assert got.names == result.names
            assert got.timesteps == result.timesteps
        also = [after - before for after, before in zip(weights(other), started, strict=True)]
    largest = max(m.abs().max() for m in moved)
    assert largest > 1e-4
    for a, b in zip(also, moved, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4 * float(largest))


def test_the_rate_of_a_step_is_the_schedules_at_that_step_for_each_part(project: Path):
    values = ["schedule.name=cosine", "schedule.warmup_steps=2"]
    values += ["optimizer.unet_lr=2e-3", "optimizer.text_encoder_lr=5e-4"]
    out = project / "a"
    task.run(TrainOptions(run=project / "run.toml", set=tuple(values), out=out), Silent())
    rows = [row for row in read_events(out / "events.jsonl") if row["kind"] == "step"]
    # written out: two steps of rise from 0, then half a cosine wave over the other four
    wave = [0.0, 0.5, *(0.5 * (1 + math.cos(math.pi * i / 4)) for i in range(4))]
    assert [r["lr"]["unet"] for r in rows] == pytest.approx([2e-3 * f for f in wave])
    assert [r["lr"]["text_encoder"] for r in rows] == pytest.approx([5e-4 * f for f in wave])


def test_the_first_step_moves_each_part_by_its_rate(project: Path, mame):
    """Adam's first step is the rate itself wherever the gradient is far above eps."""
    values = ("optimizer.unet_lr=2e-3", "optimizer.text_encoder_lr=5e-4")
    with trainer(project, mame, *values, "optimizer.weight_decay=0") as one:
        before = {
            p: [x.detach().clone() for x in one.network.parameters(p)]
            for p in trained_parts(one.run)
        }
        one.step()
        for name, rate in {"unet": 2e-3, "text_encoder": 5e-4}.items():
            now = [x.detach() for x in one.network.parameters(name)]
            far = max((x - y).abs().max() for x, y in zip(now, before[name], strict=True))
            assert float(far) == pytest.approx(rate, rel=0.01)


def test_a_step_at_rate_0_moves_nothing(project: Path, mame):
    values = ("schedule.name=constant_with_warmup", "schedule.warmup_steps=2")
    with trainer(project, mame, *values) as one:
        before = weights(one)
        one.step()
        assert all(map(torch.equal, weights(one), before))
        one.step()
        assert not all(map(torch.equal, weights(one), before))


@pytest.mark.parametrize("share", [0.0, 0.25, 4.0])
def test_long_gradients_are_cut_to_the_norm(project: Path, mame, share: float):
    """``share`` of the gradient's own length is allowed; 0 means any length."""
    with trainer(project, mame, "train.max_grad_norm=0") as one:
        length = one.step().grad_norm
    with trainer(project, mame, f"train.max_grad_norm={share * length}") as one:
        used = []

        def note(optimizer, *_):
            used.append(math.sqrt(sum(float(p.grad.square().sum()) for p in one.trained)))

        one.optimizer.register_step_pre_hook(note)
        assert one.step().grad_norm == pytest.approx(length, rel=1e-4)  # told uncut
    assert used == pytest.approx([min(share or 1, 1) * length], rel=1e-3)


def test_a_nan_step_leaves_weights_and_optimizer_alone_and_is_counted(project: Path, mame):
    with trainer(project, mame) as one:
        good = pictures(one).feed.batch(0)
        feed_with(one, Given([good, poisoned(good), poisoned(good), good, poisoned(good)]))
        counts = []
        for number in range(5):
            before, kept = weights(one), optimizer_state(one)
            average = one.counters.loss_average
            assert one.step().finite == (number in {0, 3})
            same = all(map(torch.equal, weights(one), before))
            assert same == (number not in {0, 3})
            now = optimizer_state(one)
            assert (len(now) == len(kept) and all(map(torch.equal, now, kept))) == same
            assert (one.counters.loss_average == average) == same
            assert all(p.isfinite().all() for p in one.trained)
            counts.append((one.counters.bad_in_a_row, one.counters.skipped))
    assert counts == [(0, 0), (1, 1), (2, 2), (0, 2), (1, 3)]


def nan_run(project: Path, monkeypatch, bad: set[int]) -> list[dict]:
    real = Feed.batch

    def batch(self: Feed, number: int, step: int = 0) -> Fed:
        found = real(self, number, step)
        return poisoned(found) if number in bad else found

    monkeypatch.setattr(Feed, "batch", batch)
    values = ("train.max_bad_steps=2", "train.state_every_minutes=0")
    out = project / "a"
    task.run(TrainOptions(run=project / "run.toml", set=values, out=out), Silent())
    return list(read_events(out / "events.jsonl"))


def test_single_nan_steps_do_not_add_up(project: Path, monkeypatch):
    """Three of six steps are bad, never two in a row: the run ends well and tells of each."""
    rows = nan_run(project, monkeypatch, {0, 2, 4})
    assert sum(r["kind"] == "warned" and "was skipped" in r["text"] for r in rows) == 3
    losses = [r["loss"] for r in rows if r["kind"] == "step"]
    assert [loss is None for loss in losses] == [True, False] * 3
    assert rows[-1]["kind"] == "finished"


def test_two_nan_steps_in_a_row_do(project: Path, monkeypatch):
    with pytest.raises(UserError, match="2 steps in a row were not finite"):
        nan_run(project, monkeypatch, {0, 2, 3})
