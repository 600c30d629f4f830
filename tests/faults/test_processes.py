"""F34, F35: one of several processes dies; their number changes from session to session."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from testbed.runs import final, losses

KILLED, MISTAKE = -9, 2
PATIENCE = 60.0
"""Seconds after which a process that waits for a dead one counts as hanging."""
FOUR = ("train.max_steps=6", "train.gradient_accumulation_steps=2", "output.precision=fp32")


def together(
    forks,
    project: Path,
    out: str,
    *values: str,
    resume=False,
    restarted=False,
    killed=None,
    how=None,
    cache=None,
) -> tuple[int, int]:
    """Trains with two processes; returns how each ended.

    Args:
        killed: rank of the process that kills itself.
        how: when it does so, as ``fork_server.py`` takes it (default: before the fourth step).
        cache: a cache of their own.
        restarted: as a launcher does that starts all processes again.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    arguments = {"run": str(project / "run.toml"), "out": str(project / out)}
    jobs: list[dict[str, Any]] = []
    for rank in (0, 1):
        environment = {
            "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2",
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port,
            "TORCHELASTIC_RESTART_COUNT": str(int(restarted)),
        }  # fmt: skip
        args = {**arguments, "values": list(values), "resume": resume}
        jobs.append({"job": "train", "args": args, "environment": environment, "cache": cache})
        if rank == killed:
            jobs[rank] |= how or {"killed_before_step": 4}
    # the one that should outlive the other is watched
    first = 1 if killed == 0 else 0
    job = {**jobs[first], "kill_after": PATIENCE, "beside": jobs[1 - first]}
    ended = forks(job.pop("job"), job, **job.pop("args"))
    codes = {first: ended, 1 - first: ended["beside"]}
    assert codes[first].get("text") is None or "processes is gone" in codes[first]["text"], ended
    return codes[0]["status"], codes[1]["status"]


@pytest.fixture(scope="module")
def drawn(drawn_run, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pair")
    drawn_run.draw(folder / "train" / "2_aa12 person", ["red", "green", "blue"], "aa12, {}")
    (folder / "run.toml").write_text(drawn_run.RUN.replace('reg_folder = "reg"\n', ""))
    return folder


@pytest.fixture(scope="module")
def straight(forks, drawn: Path) -> bytes:
    """The file of two processes that nothing happened to."""
    assert together(forks, drawn, "straight", *FOUR) == (0, 0)
    return final(drawn / "straight")


@pytest.mark.parametrize("rank", [0, 1])
def test_when_one_process_dies_the_others_end_and_the_run_goes_on(
    forks, drawn: Path, straight: bytes, rank: int
):
    """The first process, which saves, or another: one line, no waiting, and the same bytes then."""
    out = f"rank{rank}"
    codes = together(forks, drawn, out, *FOUR, killed=rank)
    assert codes == ((KILLED, MISTAKE) if rank == 0 else (MISTAKE, KILLED))
    # by hand, and as torchrun --max-restarts does
    assert together(forks, drawn, out, *FOUR, resume=rank == 0, restarted=rank == 1) == (0, 0)
    assert final(drawn / out) == straight


def test_a_process_that_dies_while_it_encodes_is_not_waited_for(
    forks, drawn: Path, straight: bytes, tmp_path: Path
):
    """The first one waits at the end of its own half."""
    cache = str(tmp_path / "cache")
    dying = {"folder": cache, "at_event": 2}
    codes = together(forks, drawn, "encoding", *FOUR, killed=1, how=dying, cache=cache)
    assert codes == (MISTAKE, KILLED)
    assert together(forks, drawn, "encoding", *FOUR, restarted=True) == (0, 0)
    assert final(drawn / "encoding") == straight


def test_the_number_of_processes_may_change_in_between(forks, drawn: Path, straight: bytes):
    """Two, one, two again: the same samples and the same noise in the same steps."""
    out = drawn / "changing"
    assert together(forks, drawn, out.name, *FOUR, "train.max_steps=2") == (0, 0)
    alone = forks.train(drawn, out.name, *FOUR, "train.max_steps=4", resume=True)
    assert alone["status"] == 0, alone
    assert together(forks, drawn, out.name, *FOUR, resume=True) == (0, 0)
    assert losses(out) == pytest.approx(losses(drawn / "straight"), rel=1e-6)
