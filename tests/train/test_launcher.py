"""A launcher that silently started one process is noticed (E2)."""

from __future__ import annotations

import subprocess
import sys

import pytest

from renma.core.errors import UserError
from renma.train.launcher import check, expected_processes, running_processes, split

PREPARED = {"ACCELERATE_USE_CPU": "False", "ACCELERATE_MIXED_PRECISION": "no"}
ALONE = PREPARED | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
TWO = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "MASTER_ADDR": "x", "MASTER_PORT": "1"}


@pytest.mark.parametrize(
    ("command", "environment", "expected"),
    [
        ("bash", {}, None),
        ("python train.py", TWO, None),
        ("/v/bin/python /v/bin/accelerate launch --num_processes 2 -m x", ALONE, 2),
        ("accelerate launch --num-processes=3 train_network.py", PREPARED, 3),
        ("accelerate launch --num_processes 1 train_network.py", PREPARED, 1),
        ("python -m accelerate.commands.launch --num_processes 2 a.py", {}, 2),
        ("torchrun --nproc_per_node 2 --nnodes 3 a.py", TWO, 6),
        ("torchrun --nproc-per-node=gpu a.py", TWO, None),
        # options of the script are not the launcher's: nothing of sd-scripts has this name
        ("accelerate launch train_network.py", PREPARED, None),
        # a configuration file asked for several; nothing on the command line says so
        ("accelerate launch train_network.py", ALONE, 2),
        ("accelerate launch train_network.py", ALONE | {"WORLD_SIZE": "4"}, 4),
    ],
)
def test_what_was_asked_for(command, environment, expected):
    assert expected_processes(environment, command.split()) == expected


def test_what_is_running():
    assert running_processes({}) == 1
    assert running_processes(TWO) == 2
    assert running_processes({"OMPI_COMM_WORLD_SIZE": "3"}) == 3


def test_one_process_in_place_of_two_is_refused():
    asked = ["accelerate", "launch", "--num_processes", "2", "-m", "renma.compat.train_network"]
    with pytest.raises(UserError, match="2 processes were asked for, but 1 is running") as caught:
        check(ALONE, asked)
    assert "--multi_gpu" in caught.value.line()
    with pytest.raises(UserError, match="several processes were asked for, but 1 is running"):
        check(ALONE, ["bash"])
    check(TWO, asked)
    check(PREPARED, ["accelerate", "launch", "--num_processes", "1", "x.py"])
    check({}, [])


def test_a_number_that_is_told_needs_no_guessing():
    assert split(["--a", "--processes", "2", "--b=1"]) == (2, ["--a", "--b=1"])
    assert split(["--processes=3"]) == (3, [])
    assert split(["--network_dim", "8"]) == (None, ["--network_dim", "8"])
    for words in (["--processes"], ["--processes=0"], ["--processes", "two"]):
        with pytest.raises(UserError, match="--processes"):
            split(words)
    check(TWO, [], wanted=2)
    with pytest.raises(UserError, match="2 processes were asked for, but 1 is running"):
        check({}, [], wanted=2)


def test_accelerate_really_does_this(tmp_path):
    """Its simple launcher prepares for two processes and starts one: what the check relies on."""
    pytest.importorskip("accelerate")
    script = tmp_path / "show.py"
    script.write_text(
        "import os, sys\n"
        "from renma.train.launcher import expected_processes, running_processes\n"
        "print(expected_processes(parent=[]), expected_processes(), running_processes())\n"
    )
    words = ["--num_processes", "2", "--num_machines", "1", "--mixed_precision", "no"]
    words += ["--dynamo_backend", "no", "--num_cpu_threads_per_process", "1", str(script)]
    code = "import sys; from accelerate.commands.launch import main; main()"
    ran = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, check=True
    )
    by_environment, _, running = ran.stdout.split()
    assert (by_environment, running) == ("2", "1")
