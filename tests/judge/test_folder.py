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
    (tmp_path / "pictures").mkdir()
    with pytest.raises(UserError, match="holds no run"):
        RunRecord.open(tmp_path / "pictures")
    with pytest.raises(UserError, match="is a file, not a folder"):
        RunRecord.open(finished / "events.jsonl")
    shutil.rmtree(finished / "lora")
    with pytest.raises(UserError, match=r"girl\*\.safetensors"):
        RunRecord.open(finished).need_checkpoints()


@pytest.mark.parametrize("given", ["mine", "mine/run.toml", "mine/runs", "mine/runs/002"])
def test_the_one_run_of_a_project_is_found(tmp_path: Path, finished: Path, given: str) -> None:
    """People name the folder they work in; a start that failed is no run."""
    project = tmp_path / "mine"
    shutil.move(finished, project / "runs" / "002")
    (project / "runs" / "001").mkdir()
    for place in (project, project / "runs" / "001"):
        shutil.copy(project / "runs" / "002" / "run.toml", place)
    record = RunRecord.open(tmp_path / given)
    assert record.path == project / "runs" / "002"
    assert [checkpoint.step for checkpoint in record.checkpoints()] == [10, 20]


def test_of_several_runs_one_has_to_be_named(tmp_path: Path, finished: Path) -> None:
    for number in range(1, 8):
        shutil.copytree(finished, tmp_path / "mine" / "runs" / f"{number:03d}")
    with pytest.raises(UserError) as caught:
        RunRecord.open(tmp_path / "mine")
    names = ", ".join(f"runs/{number:03d}" for number in range(3, 8))
    assert caught.value.what == f"holds 7 runs ({names} and 2 older ones)"
    assert caught.value.remedy.endswith(f"such as {tmp_path / 'mine' / 'runs' / '007'}.")


def test_a_run_in_the_projects_own_folder_wins(tmp_path: Path, finished: Path) -> None:
    """`renma demo` trains in the folder that its run.toml lies in."""
    shutil.copytree(finished, finished / "runs" / "001")
    assert RunRecord.open(finished).path == finished


def test_nothing_trained_yet(tmp_path: Path, finished: Path) -> None:
    project = tmp_path / "mine"
    project.mkdir()
    shutil.copy(finished / "run.toml", project)
    with pytest.raises(UserError, match="nothing was trained there yet"):
        RunRecord.open(project)
