"""Several processes on one run (E7, G5): the same numbers as one process with the same batches."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from renma.config import load_run
from renma.core.errors import UserError
from renma.formats import safetensors
from renma.train.processes import Processes


def launch(project: Path, count: int, *options: str) -> subprocess.CompletedProcess[str]:
    """Starts `renma train` as torchrun does."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", str(count), "-m", "renma", "train", *options]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(
        command, cwd=project, capture_output=True, text=True, env=environment, timeout=300
    )


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return dict(safetensors.read_tensors(folder / "lora" / "lora.safetensors"))


def test_two_processes_are_one_with_the_same_batches_and_the_number_may_change(project: Path):
    """Two processes == one that accumulates two batches, to 1e-6; a resume with one goes on."""
    short = ["--set", "train.max_steps=4", "--set", "output.precision=fp32"]
    done = launch(project, 2, "run.toml", "--out", "two", *short)
    assert done.returncode == 0, done.stdout + done.stderr
    assert load_run(project / "two" / "run.toml").train.processes == 2
    from renma.cli import main

    alone = [*short, "--set", "train.gradient_accumulation_steps=2"]
    toml = str(project / "run.toml")
    assert main(["train", toml, "--out", str(project / "one"), *alone]) == 0
    one, two = weights(project / "one"), weights(project / "two")
    assert one.keys() == two.keys()
    moved = [name for name in one if one[name].abs().max() > 0 and "up" in name]
    assert moved
    for name, expected in one.items():
        torch.testing.assert_close(two[name], expected, rtol=1e-6, atol=1e-9)
    # one process goes on where two stopped, with the two batches a step they had
    longer = [*short, "--set", "train.max_steps=6"]
    assert main(["train", toml, "--out", str(project / "two"), "--resume", *longer]) == 0
    longer_alone = [*alone, "--set", "train.max_steps=6"]
    assert main(["train", toml, "--out", str(project / "one"), "--resume", *longer_alone]) == 0
    one, two = weights(project / "one"), weights(project / "two")
    for name, expected in one.items():
        torch.testing.assert_close(two[name], expected, rtol=1e-5, atol=1e-8)


def test_a_launcher_that_started_another_number_is_refused(project: Path, capsys):
    """E7: `train.processes` is a promise; a launcher that silently runs one process is told."""
    from renma.cli import main

    toml = str(project / "run.toml")
    assert main(["train", toml, "--set", "train.processes=2"]) == 2
    message = capsys.readouterr().err
    assert "train.processes = 2" in message
    assert "torchrun --nproc-per-node 2" in message


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, Processes(0, 1, 0)),
        ({"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}, Processes(3, 4, 1)),
    ],
)
def test_what_torchrun_sets_is_read(environment: dict[str, str], expected: Processes):
    assert Processes.of(environment) == expected


def test_batches_are_dealt_out_once_each():
    dealt = [Processes(rank, 3, rank).deal(range(12, 18)) for rank in range(3)]
    assert dealt == [[12, 15], [13, 16], [14, 17]]
    assert sorted(number for row in dealt for number in row) == list(range(12, 18))


def test_batches_that_cannot_be_dealt_out_are_refused():
    with pytest.raises(UserError, match="3 batches a step cannot be dealt out to 2 processes"):
        Processes(0, 2, 0).check_share(3)
