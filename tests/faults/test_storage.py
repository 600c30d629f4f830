"""F1-F3, F39: what a kill, a cut-off write or a power loss leaves of states and checkpoints."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from renma.core.errors import UserError
from renma.core.store import sweep, write_bytes
from renma.formats import safetensors, state
from renma.train.loop import Trainer
from renma.train.retention import remove_surplus
from testbed.runs import final, train

KEEP = 2


@pytest.fixture
def tree(forks_module):
    """The tree of a step, as the children write it."""
    return forks_module.tree


def equal(a, b) -> bool:
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    return a == b


def good_states(folder: Path, tree) -> list[int]:
    """Steps whose state loads and is, to the last bit, what was saved."""
    found = []
    for path in state.states(folder):
        loaded = state.load(path)
        assert equal(loaded, tree(state.step_of(path))), path
        found.append(state.step_of(path))
    return found


def begun(folder: Path, tree) -> Path:
    for step in (10, 20):
        state.save(folder, step, tree(step), KEEP)
    return folder


def parts(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.endswith(".part")]


def test_killed_at_every_moment_of_saving_a_state(forks, tree, tmp_path: Path):
    """Two good states are there after every kill; the next start cleans up, the next save works."""
    left, ends = 0, []
    for moment in range(1, 100):
        folder = begun(tmp_path / str(moment), tree)
        how = {"folder": str(folder), "at_event": moment}
        ended = forks("save_state", how, folder=str(folder), step=30, keep=KEEP)["status"]
        good = good_states(folder, tree)
        assert good[-KEEP:] in ([10, 20], [20, 30]), moment
        left += bool(parts(folder))
        sweep(folder)
        assert not parts(folder)
        state.save(folder, 40, tree(40), KEEP)
        assert good_states(folder, tree) == [good[-1], 40]
        ends.append(ended)
        if ended == 0:
            break
    assert ends == [-9] * (len(ends) - 1) + [0]
    assert len(ends) >= 7  # made, filled, synced, renamed, folder synced, an old one removed
    assert left >= 3  # kills did come in the middle of writing


@pytest.mark.parametrize("deadly", [True, False], ids=["killed", "refused"])
def test_cut_off_at_any_length(forks, tree, tmp_path: Path, deadly: bool):
    """The system stops the write after so many bytes: with SIGXFSZ, or with an error."""
    size = state.save(tmp_path / "size", 30, tree(30)).stat().st_size
    for limit in (1, 7, 8, 9, 200, size // 2, size - 1, size):
        folder = begun(tmp_path / str(limit), tree)
        how = {"file_limit": limit, "limit_kills": deadly}
        ended = forks("save_state", how, folder=str(folder), step=30, keep=KEEP)
        if limit == size:
            assert ended["status"] == 0
            assert good_states(folder, tree) == [20, 30]
            continue
        assert ended["status"] == (-25 if deadly else 2)
        assert good_states(folder, tree) == [10, 20]
        assert bool(parts(folder)) is deadly
        if not deadly:
            assert f"{size - limit:,} of {size:,} bytes do not fit" in ended["text"]


def test_killed_at_every_moment_of_saving_a_checkpoint(forks, tree, tmp_path: Path):
    """Two checkpoints are kept; an old one goes only after the new one is there."""
    expected = {n: safetensors.serialize(tree(n)["network"], {"number": str(n)}) for n in (1, 2, 3)}
    ends = []
    for moment in range(1, 100):
        folder = tmp_path / str(moment)
        for number in (1, 2):
            write_bytes(folder / f"lora-{number:06d}.safetensors", expected[number])
        how = {"folder": str(folder), "at_event": moment}
        ends.append(forks("save_checkpoint", how, folder=str(folder), number=3, keep=2)["status"])
        whole = sorted(folder.glob("*.safetensors"))
        numbers = [int(path.stem[-6:]) for path in whole]
        assert numbers in ([1, 2], [1, 2, 3], [2, 3])
        for number, path in zip(numbers, whole, strict=True):
            assert path.read_bytes() == expected[number]
        if ends[-1] == 0:
            break
    assert ends == [-9] * (len(ends) - 1) + [0]
    assert numbers == [2, 3]


def test_nothing_is_removed_when_the_new_one_could_not_be_written(tree, tmp_path: Path):
    folder = begun(tmp_path, tree)
    (folder / "step-00000030.safetensors").mkdir()
    with pytest.raises(UserError, match="cannot be written"):
        state.save(folder, 30, tree(30), keep=1)
    (folder / "step-00000030.safetensors").rmdir()
    assert good_states(folder, tree) == [10, 20]
    missing = folder / "lora-000003.safetensors"
    for number in (1, 2):
        write_bytes(folder / f"lora-{number:06d}.safetensors", b"x")
    assert remove_surplus(missing, 1) == []


def test_a_name_becomes_durable_only_after_its_bytes(tmp_path: Path, monkeypatch):
    """fsync(file) < rename < fsync(folder), and each new folder in the one above it."""
    done: list[str] = []
    fsync, replace, mkdir = os.fsync, Path.replace, Path.mkdir

    def synced(handle: int) -> None:
        done.append(f"sync {Path(f'/proc/self/fd/{handle}').readlink().suffix or 'folder'}")
        fsync(handle)

    def renamed(old: Path, new: Path) -> Path:
        done.append("rename")
        return replace(old, new)

    def made(folder: Path, *args, **kwargs) -> None:
        done.append("make")
        mkdir(folder, *args, **kwargs)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", renamed)
    monkeypatch.setattr(Path, "mkdir", made)
    write_bytes(tmp_path / "run" / "state" / "x", b"y")
    folders = ["make", "sync folder"] * 2
    assert done == [*folders, "sync .part", "rename", "sync folder"]


def test_only_what_killed_writers_left_is_swept(tmp_path: Path):
    mine = [".lora.safetensors.part", "x.part", ".a.0123456g.part", "lora.safetensors", ".lock"]
    theirs = [".run.toml.01234567.part", ".step-00000010.safetensors.89abcdef.part"]
    for name in (*mine, *theirs):
        (tmp_path / name).write_text(name)
    assert sweep(tmp_path, older_than=3600) == 0
    assert sweep(tmp_path) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(mine)
    assert sweep(tmp_path / "missing") == 0


def test_a_resumed_run_begins_in_a_clean_folder(forks, project: Path):
    """Killed in the middle of its first state; started again, nothing half written is left."""
    how = {"folder": str(project / "b" / "state"), "at_event": 5}
    assert forks.train(project, "b", **how)["status"] == -9
    assert parts(project / "b" / "state")
    assert forks.train(project, "b", resume=True)["status"] == 0
    assert not list((project / "b").rglob("*.part"))
    assert forks.train(project, "a")["status"] == 0
    one, two = (project / n / "lora" / "lora.safetensors" for n in "ab")
    assert one.read_bytes() == two.read_bytes()


def test_a_save_is_over_before_the_next_step_begins(project: Path, monkeypatch):
    """Nothing is written in the background, so nothing can be overtaken or lost at the end."""
    step, seen = Trainer.step, []

    def watched(self: Trainer):
        if done := self.counters.step:
            out = project / "a"
            assert not list(out.rglob("*.part"))
            saved = state.load(state.states(out / "state")[-1])
            assert saved["counters"]["step"] == done
            assert equal(saved["network"], self.network.state())
            assert safetensors.read_tensors(out / "lora" / f"lora-step{done:08d}.safetensors")
            seen.append(done)
        return step(self)

    monkeypatch.setattr(Trainer, "step", watched)
    out = train(project, "a", "train.save_every_steps=1", "train.max_steps=3")
    assert seen == [1, 2]
    assert final(out)
