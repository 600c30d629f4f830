"""F4, F5, F38: disks that are full, folders that cannot be written or go away, file modes."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from renma.config.run_tasks import TrainOptions
from renma.core.errors import UserError
from renma.core.events import EventLog, Silent, read_events
from renma.formats import state
from renma.train import task
from renma.train.folder import RunFolder, locked
from renma.train.loop import Trainer

LIMIT = 100_000
"""Bytes a file may have in these tests: enough for events, too few for a checkpoint or a state."""


@contextmanager
def longest_file(size: int) -> Iterator[None]:
    """Lets the system refuse files beyond a size, as a full disk would."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def train(project: Path, out: str, *values: str, report=None, resume: bool = False) -> Path:
    options = TrainOptions(run=project / "run.toml", set=values, out=project / out, resume=resume)
    task.run(options, report or Silent())
    return project / out


def warned(out: Path) -> list[str]:
    return [row["text"] for row in read_events(out / "events.jsonl") if row["kind"] == "warned"]


def final(out: Path) -> bytes:
    return (out / "lora" / "lora.safetensors").read_bytes()


def steps(out: Path) -> list[int]:
    return [row["step"] for row in read_events(out / "events.jsonl") if row["kind"] == "step"]


class UntilStep(Silent):
    """Gives the disk its room back after a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def event(self, kind: str, **data) -> None:
        if kind == "step" and data["step"] == self.step:
            limit = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))


def test_a_run_goes_on_beside_a_full_disk_and_saves_when_there_is_room(project: Path):
    """Steps 2 and 4 find no room, step 6 does: one line each, with the missing bytes."""
    straight = train(project, "a")
    with longest_file(LIMIT):
        out = train(project, "b", report=UntilStep(5))
    lines = [text for text in warned(out) if "bytes do not fit" in text]
    assert len(lines) == 4  # state and checkpoint of steps 2 and 4
    assert steps(out) == [1, 2, 3, 4, 5, 6]
    assert final(out) == final(straight)
    assert not list(out.rglob("*.part"))


def test_a_disk_full_to_the_end_is_told_and_leaves_the_last_good_state(project: Path):
    straight = train(project, "a", "train.max_steps=4")
    out = project / "b"
    train(project, "b", "train.max_steps=2")
    with (
        longest_file(LIMIT),
        pytest.raises(UserError, match=r"bytes do not fit\).*Free some space"),
    ):
        train(project, "b", "train.max_steps=4", resume=True)
    assert [path.stem for path in state.states(out / "state")] == ["step-00000002"]
    saved = [row["path"] for row in read_events(out / "events.jsonl") if row["kind"] == "saved"]
    assert all((out / path).exists() for path in saved)
    train(project, "b", "train.max_steps=4", resume=True)
    assert final(out) == final(straight)


class NoRoom(Silent):
    """Takes all room away after one step, and gives it back after another."""

    def __init__(self, first: int, last: int) -> None:
        self.sizes = {first: 1, last: resource.getrlimit(resource.RLIMIT_FSIZE)[1]}
        self.warned: list[str] = []

    def event(self, kind: str, **data) -> None:
        if kind == "warned":
            self.warned.append(data["text"])
        if kind == "step" and data["step"] in self.sizes:
            hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.sizes[data["step"]], hard))


def curve(out: Path) -> list[int]:
    """Steps that TensorBoard shows of the loss."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(out / "tensorboard"))
    board.Reload()
    return [point.step for point in board.Scalars("loss/current")]


def test_a_run_outlives_a_disk_that_takes_nothing_at_all(project: Path):
    """Not a byte of log, curves, previews, checkpoints fits for some steps."""
    values = (
        "train.tensorboard=true", "train.max_steps=7", "sample.prompts=['aa12 --s 1']",
        "sample.every_steps=3",
    )  # fmt: skip
    straight = train(project, "a", *values)
    told = NoRoom(1, 5)
    try:
        out = train(project, "b", *values, report=told)
    finally:
        limit = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    assert final(out) == final(straight)
    assert steps(out) == [1, 6, 7]
    assert curve(straight) == [1, 2, 3, 4, 5, 6, 7]
    assert curve(out) == [1, 6, 7]
    for place in ("events.jsonl: ", "tensorboard: ", "previews: "):
        assert len([text for text in told.warned if place in text]) == 1


def test_curves_of_a_killed_run_are_drawn_once(project: Path):
    """Points after the state it went back to are dropped."""
    out = train(project, "a", "train.tensorboard=true")
    state.states(out / "state")[-1].unlink()
    (out / "lora" / "lora.safetensors").unlink()
    train(project, "a", "train.tensorboard=true", resume=True)
    assert curve(out) == [1, 2, 3, 4, 5, 6]


class Told(Silent):
    def __init__(self) -> None:
        self.events: list[str] = []

    def event(self, kind: str, **data) -> None:
        self.events.append(data.get("text", kind))


def test_events_that_do_not_fit_are_told_once_and_counted(tmp_path: Path):
    told, path = Told(), tmp_path / "events.jsonl"
    log = EventLog(path, told)
    log.event("step", step=1)
    with longest_file(path.stat().st_size + 10):
        for step in (2, 3, 4):
            log.event("step", step=step)
    log.event("step", step=5)
    log.close()
    rows = list(read_events(path))
    assert [row.get("step", row.get("text")) for row in rows] == [
        1, "3 events could not be written here", 5,
    ]  # fmt: skip
    assert len([text for text in told.events if "going on" in text]) == 1
    assert told.events.count("step") == 5


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device always full")
def test_a_log_on_a_full_disk_ends_nothing():
    told = Told()
    log = EventLog(Path("/dev/full"), told)
    log.event("step", step=1)
    log.close()
    assert "No space left" in told.events[0]


@pytest.mark.parametrize("name", ["lora", "state"])
def test_a_file_in_place_of_a_folder_is_refused_before_the_start(project: Path, name: str):
    (project / "a").mkdir()
    (project / "a" / name).write_text("in the way")
    with pytest.raises(UserError, match=f"{name}: is a file, not a folder"):
        train(project, "a")
    assert not (project / "a" / "events.jsonl").exists()
    assert (project / "a" / name).read_text() == "in the way"


def test_a_file_in_place_of_the_run_is_refused(project: Path):
    (project / "a").write_text("in the way")
    with pytest.raises(UserError, match="is a file, not a folder"):
        train(project, "a")


@contextmanager
def a_stranger() -> Iterator[None]:
    """Drops the rights of root, which no folder mode binds."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.skipif(sys.platform == "win32", reason="modes of folders")
@pytest.mark.parametrize("name", ["", "lora", "state"])
def test_a_folder_without_the_right_to_write_is_refused_before_the_start(name: str):
    place = Path(tempfile.mkdtemp())
    try:
        run = RunFolder(place / "run")
        (run.path / "lora").mkdir(parents=True)
        (run.path / "state").mkdir()
        for path in (place, run.path, run.lora, run.state):
            path.chmod(0o777)
        (run.path / name).chmod(0o555)
        with a_stranger(), pytest.raises(UserError, match="cannot be written"), locked(run):
            raise AssertionError("began")
        (run.path / name).chmod(0o777)
        with a_stranger(), locked(run):
            assert {path.name for path in run.path.iterdir()} == {".lock", "lora", "state"}
    finally:
        shutil.rmtree(place)


def test_a_folder_that_vanishes_is_made_again(project: Path, monkeypatch):
    """What is told to be saved is there; nothing is saved into the void."""
    step, straight = Trainer.step, train(project, "a")

    def vanishing(self: Trainer):
        if self.counters.step == 3:
            shutil.rmtree(project / "b")
        return step(self)

    monkeypatch.setattr(Trainer, "step", vanishing)
    out = train(project, "b")
    assert final(out) == final(straight)
    assert [path.stem for path in state.states(out / "state")] == ["step-00000004", "step-00000006"]


def test_a_file_that_takes_the_folders_place_ends_the_run_with_a_word(project: Path, monkeypatch):
    step = Trainer.step

    def replaced(self: Trainer):
        if self.counters.step == 3:
            shutil.rmtree(project / "b")
            (project / "b").write_text("in the way")
        return step(self)

    monkeypatch.setattr(Trainer, "step", replaced)
    with pytest.raises(UserError, match="cannot be written"):
        train(project, "b")
    assert (project / "b").read_text() == "in the way"


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_files_can_be_read_by_whom_the_umask_lets(project: Path, mask: int, mode: int):
    before = os.umask(mask)
    try:
        out = train(project, "a", "train.max_steps=2")
    finally:
        os.umask(before)
    files = [path for path in out.rglob("*") if path.is_file() and path.name != ".lock"]
    assert {path.stat().st_mode & 0o777 for path in files} == {mode}
    assert len(files) >= 4


def test_other_errors_of_the_disk_name_the_file(tmp_path: Path, monkeypatch):
    def broken(_handle: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(UserError, match=r"step-00000001.*Input/output error"):
        state.save(tmp_path, 1, {"counters": {"step": 1}})
    assert list(tmp_path.iterdir()) == []
