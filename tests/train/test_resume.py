"""Resume crossed with the options that draw at random or leave parts out; signals, then resume."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from renma.config.run_tasks import TrainOptions
from renma.core.errors import Interrupted, UserError
from renma.core.events import Silent, read_events
from renma.formats import state
from renma.train import task
from renma.train.loop import Trainer


def train(project: Path, out: str, *values: str, resume: bool = False) -> Path:
    options = TrainOptions(run=project / "run.toml", set=values, out=project / out, resume=resume)
    task.run(options, Silent())
    return project / out


def final(folder: Path) -> bytes:
    return (folder / "lora" / "lora.safetensors").read_bytes()


def told(folder: Path) -> list[dict]:
    """The step events without what the clock says."""
    rows = [row for row in read_events(folder / "events.jsonl") if row["kind"] == "step"]
    return [
        {k: v for k, v in row.items() if k not in {"time", "seconds", "memory_mib"}} for row in rows
    ]


CROSSED = {
    "flip": ("data.flip_aug=true",),
    "caption dropout": ("data.caption_dropout_rate=0.5", "data.caption_tag_dropout_rate=0.3"),
    "bf16": ("train.precision=bf16",),
    "dropouts, recomputed": (
        "adapter={dropout=0.3,rank_dropout=0.2,module_dropout=0.2}",
        "train.gradient_checkpointing=true",
    ),
    "dylora, max norm": ("adapter={algo='dylora',rank=4,max_norm=0.05}",),
    "tlora, lora plus, blocks": (
        "adapter={rank=4,min_timestep_rank=1,lr_ratio=4,blocks={up_rates='sine+0.1'}}",
    ),
    "loha with dora": ("adapter={algo='loha',dora='output',rank_dropout=0.3}",),
    "pissa": ("adapter={start='pissa'}",),
    "quantised": ("model.quantize='nf4'",),
    "no text encoder": ("train.text_encoder=false",),
    "no text encoder, captions cached": ("train.text_encoder=false", "data.shuffle_caption=false"),
    "noise offset": ("objective.noise_offset=0.1", "objective.min_snr_gamma=5"),
    "checkpointing": ("train.gradient_checkpointing=true",),
    "all": (
        "data.flip_aug=true", "data.caption_dropout_rate=0.3", "objective.noise_offset=0.1",
        "train.precision=bf16", "optimizer.name=prodigy", "schedule.name=cosine",
        "train.gradient_accumulation_steps=2",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CROSSED)
def test_resume_is_bit_identical(lopsided: Path, name: str):
    """The run is taken back to its middle and goes on: same file, same events of each step."""
    values = (*CROSSED[name], "train.max_steps=4")
    out = train(lopsided, "a", *values)
    straight, events = final(out), told(out)
    (out / "lora" / "lora.safetensors").unlink()
    newest = sorted((out / "state").iterdir())[-1]
    assert newest.stem == "step-00000004"
    newest.unlink()
    train(lopsided, "a", *values, resume=True)
    again = told(out)[4:]
    assert [row["step"] for row in again] == [3, 4]
    assert again == events[2:]  # loss, running mean, rates, gradient: to the last digit
    assert final(out) == straight


def back_to(out: Path, step: int) -> None:
    """Takes a run back to a state, as if it had been killed right after it was saved."""
    for path in state.states(out / "state"):
        if state.step_of(path) > step:
            path.unlink()
    (out / "lora" / "lora.safetensors").unlink(missing_ok=True)
    assert state.step_of(state.states(out / "state")[-1]) == step


EVERY_STEP = ("train.save_every_steps=1", "train.keep_states=9")


@pytest.mark.parametrize(
    ("values", "steps"),
    [
        # few batches an epoch: steps end in the middle of epochs and at their borders
        (("data.batch_size=4",), (1, 3, 4)),
        # three batches a step: every step ends inside another epoch, at another batch of it
        (("train.gradient_accumulation_steps=3",), (2, 5)),
    ],
    ids=["each step of an epoch", "in the middle of accumulation"],
)
def test_resumed_from_any_step_and_again_from_the_next(project: Path, values, steps):
    """A resume of a resume of a resume gives the bytes of the undisturbed run (E9)."""
    how = (*values, *EVERY_STEP, "schedule.name=cosine")
    out = train(project, "a", *how)
    straight, events = final(out), told(out)
    order = [row["epoch"] for row in events]
    assert len(set(order)) > 1
    for step in steps:
        back_to(out, step)
        train(project, "a", *how, resume=True)
        assert final(out) == straight
        assert told(out)[-6 + step :] == events[step:]


@pytest.mark.parametrize("stops", [(2, 3, 5), (1, 4)], ids=str)
def test_stopped_again_and_again(project: Path, monkeypatch, stops: tuple[int, ...]):
    """Each session goes on where the one before was stopped; steps count on over all of them."""
    values = ("train.save_every_steps=0", "train.gradient_accumulation_steps=2")
    straight = train(project, "a", *values)
    step = Trainer.step
    for number in stops:
        with monkeypatch.context() as patch:

            def stopping(self: Trainer, number: int = number):
                if self.counters.step == number - 1:
                    os.kill(os.getpid(), signal.SIGTERM)
                return step(self)

            patch.setattr(Trainer, "step", stopping)
            with pytest.raises(Interrupted, match=f"stopped after step {number}"):
                train(project, "b", *values, resume=number != stops[0])
    out = train(project, "b", *values, resume=True)
    assert [row["step"] for row in told(out)] == [1, 2, 3, 4, 5, 6]
    assert told(out) == told(straight)
    assert final(out) == final(straight)


def test_a_longer_run_is_that_run(project: Path):
    """4 steps and then 2 more are 6 steps, where the schedule does not go by the length."""
    straight = train(project, "a", "schedule.name=constant_with_warmup", "schedule.warmup_steps=3")
    values = ("schedule.name=constant_with_warmup", "schedule.warmup_steps=3")
    out = train(project, "b", *values, "train.max_steps=4")
    train(project, "b", *values, resume=True)
    assert final(out) == final(straight)
    assert told(out)[-1]["steps"] == 6
    assert told(out)[:-2] == [
        {**row, "steps": 4, "epochs": told(out)[0]["epochs"]} for row in told(straight)[:4]
    ]


def test_a_shorter_rest_than_planned_ends_where_it_is_told(project: Path):
    straight = train(project, "a", "train.max_steps=3", *EVERY_STEP)
    out = train(project, "b", "train.max_steps=6", *EVERY_STEP)
    back_to(out, 2)
    train(project, "b", "train.max_steps=3", *EVERY_STEP, resume=True)
    assert final(out) == final(straight)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_after_the_step_and_resume_gives_the_same_bytes(
    project: Path, monkeypatch, number: signal.Signals, code: int
):
    """The signal comes in the middle of step 3; nothing else has saved a state before."""
    values = ("train.max_steps=6", "train.save_every_steps=0")
    straight = train(project, "a", *values)
    step, before = Trainer.step, signal.getsignal(number)

    def interrupted(self: Trainer):
        if self.counters.step == 2:
            os.kill(os.getpid(), number)
        return step(self)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", interrupted)
        with pytest.raises(Interrupted, match="--resume") as caught:
            train(project, "b", *values)
    assert caught.value.exit_code == code
    assert signal.getsignal(number) == before
    out = project / "b"
    assert [path.stem for path in (out / "state").iterdir()] == ["step-00000003"]
    assert not (out / "lora").exists()
    train(project, "b", *values, resume=True)
    assert told(out) == told(straight)
    assert final(out) == final(straight)


def test_counters_come_back_whole(project: Path, monkeypatch):
    """Skipped steps and the row of bad ones count on after a resume."""
    kept: list[dict] = []
    step = Trainer.step

    def marked(self: Trainer):
        if self.counters.step == 1:
            self.counters.bad_in_a_row, self.counters.skipped = 0, 5
        return step(self)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", marked)
        out = train(project, "a", "train.max_steps=4")
    newest = sorted((out / "state").iterdir())[-1]
    assert state.load(newest)["counters"]["skipped"] == 5
    newest.unlink()

    def noted(self: Trainer):
        kept.append(dict(vars(self.counters)))
        return step(self)

    monkeypatch.setattr(Trainer, "step", noted)
    train(project, "a", "train.max_steps=4", resume=True)
    assert kept[0]["step"] == 2
    assert kept[0]["skipped"] == 5
    assert kept[0]["loss_average"] == told(out)[1]["loss_average"]


def test_a_changed_base_lora_is_noticed(project: Path, mame, tmp_path: Path):
    """What was learnt so far is the difference to that very file."""
    from renma.config.adapter import Lora
    from renma.engine.network import Network
    from renma.formats import safetensors

    path = tmp_path / "first.safetensors"
    network = Network.fresh(mame, Lora(rank=1), 0, ("unet",))
    safetensors.save(path, network.tensors(), {})
    values = (f"start.base_weights=['{path}']", "train.max_steps=2", "train.text_encoder=false")
    options = TrainOptions(run=project / "run.toml", set=values, out=project / "out")
    task.run(options, Silent())
    network = Network.fresh(mame, Lora(rank=1), 1, ("unet",))
    safetensors.save(path, network.tensors(), {})
    again = TrainOptions(
        run=project / "run.toml", set=(*values[:1], "train.max_steps=3", values[2]),
        out=project / "out", resume=True,
    )  # fmt: skip
    with pytest.raises(UserError, match=r"first\.safetensors\) changed since this run began"):
        task.run(again, Silent())
