"""E1: pickled checkpoints are read by torch's weights-only reader, or refused in one line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from renma.core.errors import UserError
from renma.formats import pickles

TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.ones(4, dtype=torch.float16)}


@pytest.mark.parametrize("tree", [TENSORS, {"state_dict": TENSORS, "global_step": 7}])
def test_tensors_and_header(tmp_path: Path, tree):
    path = tmp_path / "m.ckpt"
    torch.save(tree, path)
    found = pickles.read_tensors(path)
    assert all(torch.equal(found[name], tensor) for name, tensor in TENSORS.items())
    header, metadata = pickles.read_header(path)
    assert header["a.weight"] == {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}
    assert header["b"]["dtype"] == "F16"
    assert metadata == {}


class Mischief:
    """What a stranger's checkpoint may do."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path):
    path, mark = tmp_path / "m.ckpt", tmp_path / "mark"
    torch.save({**TENSORS, "x": Mischief(mark)}, path)
    with pytest.raises(UserError, match=r"'posix\.mkdir'|'nt\.mkdir'") as caught:
        pickles.read_tensors(path)
    assert not mark.exists()
    assert "safetensors" in caught.value.line()
    assert len(caught.value.line().splitlines()) == 1


def test_the_old_format_is_named_and_the_advised_command_mends_it(tmp_path: Path):
    """The line is copied into a shell as it stands; what it writes is read."""
    path = tmp_path / "m.ckpt"
    torch.save({"state_dict": TENSORS}, path, _use_new_zipfile_serialization=False)
    with pytest.raises(UserError, match=r"format before PyTorch 1\.6") as caught:
        pickles.read_tensors(path)
    command = caught.value.line().partition('python -c "')[2].rpartition('"')[0]
    code = subprocess.run([sys.executable, "-c", command], cwd=tmp_path, check=False).returncode
    assert code == 0
    found = pickles.read_tensors(tmp_path / "new-m.ckpt")
    assert all(torch.equal(found[name], tensor) for name, tensor in TENSORS.items())


def test_the_advised_command_runs_no_code_either(tmp_path: Path):
    path, mark = tmp_path / "m.ckpt", tmp_path / "mark"
    torch.save({"x": Mischief(mark)}, path, _use_new_zipfile_serialization=False)
    with pytest.raises(UserError) as caught:
        pickles.read_tensors(path)
    command = caught.value.line().partition('python -c "')[2].rpartition('"')[0]
    words = [sys.executable, "-c", command]
    ran = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "weights_only" in command
    assert "UnpicklingError" in ran.stderr
    assert not mark.exists()


@pytest.mark.parametrize("how", ["old", "cut", "text", "empty", "no names", "missing"])
def test_what_cannot_be_read_is_one_line(tmp_path: Path, how: str):
    path = tmp_path / "m.pt"
    if how == "old":
        torch.save(TENSORS, path, _use_new_zipfile_serialization=False)
    elif how == "no names":
        torch.save([TENSORS["b"]], path)
    elif how in ("text", "empty"):
        path.write_text("no model" if how == "text" else "")
    elif how == "cut":
        torch.save(TENSORS, path)
        path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UserError) as caught:
        pickles.read_header(path)
    line = caught.value.line()
    assert str(path) in line
    assert len(line.splitlines()) == 1
    assert len(line) < 400
