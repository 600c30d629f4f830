"""``renma sample PROJECT`` takes the one run there is, and asks where there are several (F2, F5)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from renma.cli import main
from renma.config import Run
from renma.config.load import dump
from renma.core.errors import UserError
from renma.drawing.picture_source import Source
from renma.judge.folder import RunRecord


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project of two runs, the second still without its LoRA."""
    text = dump(Run.model_validate({"output": {"name": "hero"}}))
    for folder in ("mine", "mine/runs/001", "mine/runs/002"):
        (tmp_path / folder / "lora").mkdir(parents=True)
        (tmp_path / folder / "run.toml").write_text(text)
    (tmp_path / "mine/runs/001/lora/hero.safetensors").touch()
    return tmp_path / "mine"


@pytest.mark.parametrize("given", ["", "run.toml", "runs", "runs/001", "runs/001/run.toml"])
def test_the_only_run_is_taken(project: Path, given: str):
    assert Source.of(str(project / given)).lora == project / "runs/001/lora/hero.safetensors"


@pytest.mark.parametrize("given", ["", "run.toml", "runs"])
def test_of_several_runs_one_has_to_be_named(project: Path, given: str, capfd):
    """The newest need not be the one that is meant; score, grid and report ask too."""
    (project / "runs/002/lora/hero.safetensors").touch()
    with pytest.raises(UserError, match=r"holds 2 runs \(") as caught:
        Source.of(str(project / given))
    with pytest.raises(UserError, match=re.escape(caught.value.line())):
        RunRecord.open(project / given)
    assert caught.value.remedy == (
        f"Give the folder of one of them, such as {project / 'runs/002'}."
    )
    words = ["sample", str(project / given), "--prompt", "a", "-o", str(project / "out")]
    assert main(words) == 2
    assert "holds 2 runs" in capfd.readouterr().err
    named = Source.of(str(project / "runs/002"))
    assert named.lora == project / "runs/002/lora/hero.safetensors"


def test_before_the_first_training_that_is_said(project: Path):
    (project / "runs/001/lora/hero.safetensors").unlink()
    with pytest.raises(UserError, match="nothing was trained there yet"):
        Source.of(str(project))


def test_a_model_folder_with_runs_inside_is_the_model(project: Path):
    (project / "run.toml").unlink()
    (project / "model_index.json").write_text("{}")
    assert Source.of(str(project)).lora is None


@pytest.mark.parametrize(
    ("option", "near"),
    [("--width 100", "96 and 104"), ("--height 8", "64 and 72"), ("--width 9000", "8184 and 8192")],
)
def test_a_side_that_cannot_be_is_told_the_nearest(tmp_path: Path, option: str, near: str, capfd):
    """F2, G2: one line, in the user's words."""
    words = ["sample", "mame", "--prompt", "a", *option.split(), "-o", str(tmp_path / "out")]
    assert main(words) == 2
    said = capfd.readouterr().err
    assert f"multiple of 8 from 64 to 8192; the nearest are {near}." in said
    assert "pydantic" not in said
    assert "validation error" not in said
