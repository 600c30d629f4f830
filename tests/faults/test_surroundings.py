"""F33, F36, F37, F40: what no run hangs on: other processes, the time, readers, a network."""

from __future__ import annotations

import multiprocessing.process
import os
import random
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

from renma.core.errors import Interrupted
from renma.core.events import read_events
from renma.formats import state
from renma.train.loop import Trainer
from testbed.runs import final, kinds, train


def test_a_clock_that_jumps_changes_nothing(project: Path, monkeypatch):
    """Back by years and forth by years between any two looks at it, over a resume too."""
    straight = train(project, "a")
    rng = random.Random(0)
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: rng.uniform(0, 4e9))
        train(project, "b", "train.max_steps=4")
        train(project, "b", resume=True)
    assert final(project / "b") == final(straight)
    rows = list(read_events(project / "b" / "events.jsonl"))
    assert [row["step"] for row in rows if row["kind"] == "step"] == [1, 2, 3, 4, 5, 6]


def test_a_run_asks_nobody(project: Path, monkeypatch):
    """Neither a name nor a connection, also with previews and TensorBoard."""

    def refused(*args, **kwargs):
        raise AssertionError(f"asked the network: {args}")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)
    with pytest.raises(AssertionError, match="asked"):
        socket.create_connection(("127.0.0.1", 9))
    values = ("sample.prompts=['aa12 --s 1']", "sample.every_steps=2", "train.tensorboard=true")
    assert final(train(project, "a", *values))


def test_a_run_starts_no_process_that_could_be_killed(project: Path, monkeypatch):
    """Pictures are read and latents encoded by the run itself: it has no workers to lose.

    The one thread that decodes ahead hands its errors to the run, as the vanished pictures show.
    """

    def refused(*args, **kwargs):
        raise AssertionError(f"started a process: {args}")

    for place, name in (
        (os, "fork"), (os, "posix_spawn"), (subprocess, "Popen"),
        (multiprocessing.process.BaseProcess, "start"),
    ):  # fmt: skip
        monkeypatch.setattr(place, name, refused)
    with pytest.raises(AssertionError, match="started"):
        multiprocessing.Process(target=print).start()
    step, beside = Trainer.step, set()

    def watched(self: Trainer):
        beside.update(thread.name for thread in threading.enumerate())
        return step(self)

    before = {thread.name for thread in threading.enumerate()}
    monkeypatch.setattr(Trainer, "step", watched)
    monkeypatch.setenv("RENMA_CACHE", str(project / "cache"))  # so that there is much to read
    assert final(train(project, "a"))
    assert beside <= before


def test_a_run_goes_on_when_nobody_reads_it(forks, project: Path):
    """`renma train | head`, or a studio that was closed: the log is kept, the result is the same."""
    straight = train(project, "a")
    words = ["train", str(project / "run.toml"), "--out", str(project / "b")]
    ended = forks("unheard", words=words)
    assert ended["status"] == 0, ended
    assert final(project / "b") == final(straight)
    assert kinds(project / "b") == kinds(straight)


def hung_up(monkeypatch, before_step: int) -> None:
    """Closes the terminal at the start of a step."""
    step = Trainer.step

    def closed(self: Trainer):
        if self.counters.step == before_step - 1:
            os.kill(os.getpid(), signal.SIGHUP)
        return step(self)

    monkeypatch.setattr(Trainer, "step", closed)


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no SIGHUP")
def test_a_closed_terminal_saves_the_state(project: Path, monkeypatch):
    straight = train(project, "a")
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may run under nohup
    with monkeypatch.context() as patch:
        hung_up(patch, 3)
        with pytest.raises(Interrupted, match="stopped after step 3"):
            train(project, "b")
    signal.signal(signal.SIGHUP, before)
    assert [state.step_of(path) for path in state.states(project / "b" / "state")] == [2, 3]
    assert final(train(project, "b", resume=True)) == final(straight)


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no SIGHUP")
def test_nohup_goes_on(project: Path, monkeypatch):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        hung_up(monkeypatch, 3)
        out = train(project, "a")
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
    assert kinds(out)[-1] == "finished"
