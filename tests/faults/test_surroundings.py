"""F36, F40: what is none of a run's business: what time it is, whether there is a network."""

from __future__ import annotations

import random
import socket
import time
from pathlib import Path

import pytest

from renma.config.tasks import TrainOptions
from renma.core.events import Silent, read_events
from renma.train import task


def train(project: Path, out: str, *values: str, resume: bool = False) -> Path:
    options = TrainOptions(run=project / "run.toml", set=values, out=project / out, resume=resume)
    task.run(options, Silent())
    return project / out


def final(out: Path) -> bytes:
    return (out / "lora" / "lora.safetensors").read_bytes()


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
