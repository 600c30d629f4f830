"""Reading a run's folder: which files are its checkpoints, and in which order."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from renma.core.errors import UserError
from renma.judge.folder import RunRecord


def test_checkpoints_from_least_to_most_trained(finished: Path) -> None:
    found = RunRecord.open(finished).checkpoints()
    assert [(c.path.name, c.step) for c in found] == [
        ("girl-step00000010.safetensors", 10),
        ("girl.safetensors", 20),
    ]
    assert [c.label for c in found] == ["step 10", "last (step 20)"]


def test_the_same_step_is_listed_once_as_the_last_file(finished: Path) -> None:
    shutil.copy(finished / "lora/girl.safetensors", finished / "lora/girl-000002.safetensors")
    with (finished / "events.jsonl").open("a") as log:
        log.write('{"kind": "saved", "step": 20, "path": "lora/girl-000002.safetensors"}\n')
    names = [c.path.name for c in RunRecord.open(finished).checkpoints()]
    assert names == ["girl-step00000010.safetensors", "girl.safetensors"]


def test_without_events_names_give_the_order(finished: Path) -> None:
    (finished / "events.jsonl").unlink()
    for name in ("girl-000010", "girl-000002", "other", "girl-best"):
        shutil.copy(finished / "lora/girl.safetensors", finished / f"lora/{name}.safetensors")
    (finished / "lora/girl-step00000010.safetensors").unlink()
    found = RunRecord.open(finished).checkpoints()
    assert [c.label for c in found] == ["epoch 2", "epoch 10", "last"]


def test_events_cannot_point_outside(finished: Path) -> None:
    (finished.parent / "secret.png").write_bytes(b"x")
    folder = RunRecord.open(finished)
    assert folder.inside("samples/10.png") == finished / "samples/10.png"
    for path in ("../secret.png", str(finished.parent / "secret.png"), "samples", "", None, 3):
        assert folder.inside(path) is None


def test_mistakes_are_said(tmp_path: Path, finished: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        RunRecord.open(tmp_path / "nowhere")
    with pytest.raises(UserError, match="no run"):
        RunRecord.open(tmp_path)
    shutil.rmtree(finished / "lora")
    with pytest.raises(UserError, match=r"girl\*\.safetensors"):
        RunRecord.open(finished).need_checkpoints()
