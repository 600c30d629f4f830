"""F6, F7: signals between steps, twice, during saving, caching and drawing."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from renma.config.run_tasks import TrainOptions
from renma.core.events import Silent, read_events
from renma.formats import state
from renma.train import task
from renma.train.loop import Trainer
from renma.train.signals import StopRequest, before_the_loop


def train(project: Path, out: str, *values: str, resume: bool = False) -> Path:
    options = TrainOptions(run=project / "run.toml", set=values, out=project / out, resume=resume)
    task.run(options, Silent())
    return project / out


def final(out: Path) -> bytes:
    return (out / "lora" / "lora.safetensors").read_bytes()


def saved_steps(out: Path) -> list[int]:
    return [state.step_of(path) for path in state.states(out / "state")]


def signalled(monkeypatch, before_step: int, *numbers: int) -> None:
    """Sends this process signals at the start of a step."""
    step = Trainer.step

    def interrupted(self: Trainer):
        if self.counters.step == before_step - 1:
            for number in numbers:
                os.kill(os.getpid(), number)
        return step(self)

    monkeypatch.setattr(Trainer, "step", interrupted)


def test_a_second_ctrl_c_ends_at_once_and_what_was_saved_is_whole(project: Path, monkeypatch):
    straight = train(project, "a")
    with monkeypatch.context() as patch:
        signalled(patch, 4, signal.SIGINT, signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            train(project, "b")
    assert saved_steps(project / "b") == [2]  # the third step had saved nothing, the fourth is lost
    assert state.load(state.states(project / "b" / "state")[-1])["counters"]["step"] == 2
    assert final(train(project, "b", resume=True)) == final(straight)


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="Windows has no SIGUSR1")
def test_usr1_saves_a_state_and_goes_on(project: Path, monkeypatch):
    """Slurm sends it some minutes before a job ends."""
    straight = train(project, "a", "train.max_steps=4", "train.save_every_steps=0")
    signalled(monkeypatch, 2, signal.SIGUSR1)
    out = train(project, "b", "train.max_steps=4", "train.save_every_steps=0")
    assert saved_steps(out) == [2, 4]
    assert final(out) == final(straight)
    assert [row["step"] for row in read_events(out / "events.jsonl") if row["kind"] == "step"] == [
        1, 2, 3, 4,
    ]  # fmt: skip


def test_the_signals_are_noted_and_given_back():
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)]
    with StopRequest() as stop:
        assert stop.exit_code is None
        assert not stop.take_save()
        os.kill(os.getpid(), signal.SIGUSR1)
        assert stop.take_save()
        assert not stop.take_save()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.exit_code == 143
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)] == before


def test_before_the_loop_term_leaves_and_usr1_does_not():
    survived: list[int] = []

    def signals() -> None:
        for number in (signal.SIGUSR1, signal.SIGTERM):
            os.kill(os.getpid(), number)
            survived.append(number)

    with pytest.raises(SystemExit) as caught, before_the_loop():
        signals()
    assert survived == [signal.SIGUSR1]
    assert caught.value.code == 143


@pytest.mark.parametrize("moment", [2, 4, 6, 7])
def test_term_during_a_save_lets_it_finish(forks, project: Path, moment: int):
    """Sent before each thing done to the files of the state of step 2."""
    straight = train(project, "a", "train.max_steps=3")
    how = {"folder": str(project / "b" / "state"), "at_event": moment}
    ended = forks.train(
        project, "b", "train.max_steps=3", at_event_signal=int(signal.SIGTERM), **how
    )
    assert ended["status"] == 143
    assert saved_steps(project / "b") == [2]
    assert state.load(state.states(project / "b" / "state")[0])["counters"]["step"] == 2
    assert not list((project / "b").rglob("*.part"))
    assert final(train(project, "b", "train.max_steps=3", resume=True)) == final(straight)


def test_term_during_caching_ends_at_once_and_keeps_what_is_cached(
    forks, project: Path, tmp_path: Path, monkeypatch
):
    how = {"at_event_signal": int(signal.SIGTERM), "folder": str(tmp_path / "cache")}
    cache = str(tmp_path / "cache")
    for moment in (3, 9):
        ended = forks.train(project, "b", cache=cache, at_event=moment, **how)
        assert ended["status"] == 143
        assert not (project / "b" / "state").exists()
    monkeypatch.setenv("RENMA_CACHE", cache)
    assert final(train(project, "b")) == final(train(project, "a"))


def test_term_while_drawing_saves_and_leaves(forks, project: Path):
    values = ("train.max_steps=4", "sample.prompts=['aa12 --s 2']", "sample.every_steps=2")
    straight = train(project, "a", *values)
    how = {"folder": str(project / "b" / "samples"), "at_event": 2}
    ended = forks.train(project, "b", *values, at_event_signal=int(signal.SIGTERM), **how)
    assert ended["status"] == 143
    assert saved_steps(project / "b") == [2]
    assert final(train(project, "b", *values, resume=True)) == final(straight)
