"""A judged run killed by SIGKILL at any moment stops where the undisturbed one does (G3, G5)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from renma.core.events import read_events
from renma.formats import state

SERVER = Path(__file__).with_name("stop_server.py")
VALUES = [
    "train.max_steps=5", "train.save_every_steps=1", "train.keep_checkpoints=1",
    "stop.every_checkpoints=1", "stop.patience=2", "stop.min_delta=0.01",
]  # fmt: skip
STOPS = {1: 0.5, 2: 0.7, 3: 0.705, 4: 0.2, 5: 0.9}
"""Step 3 is the best, but by too little to count: the run ends after step 4."""
LASTS = {1: 0.5, 2: 0.7, 3: 0.8, 4: 0.6, 5: 0.9}
"""Nothing ends it before step 5, whose LoRA is judged too."""
Run = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def server(_own_cache: None) -> Iterator[subprocess.Popen[str]]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, str(SERVER)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        text=True,
    )
    assert process.stdin
    assert process.stdout
    assert process.stdout.readline().strip() == "ready"
    yield process
    process.stdin.close()
    process.wait(timeout=30)
    process.stdout.close()


@pytest.fixture
def run(server: subprocess.Popen[str], project: Path) -> Run:
    """Trains in a child; ``how`` is for the fork server, the rest for the job."""

    def job(out: str, merits: dict[int, float], how: dict[str, Any] | None = None, **args: Any):
        given = {"project": str(project), "out": out, "values": VALUES, "merits": merits, **args}
        assert server.stdin
        assert server.stdout
        server.stdin.write(json.dumps({"job": "stopping", "args": given, **(how or {})}) + "\n")
        server.stdin.flush()
        return json.loads(server.stdout.readline())

    return job


def left(out: Path) -> dict[str, Any]:
    """What a finished run leaves: LoRAs and the newest state, to the byte; judgements by step."""
    files = [*(out / "lora").iterdir(), *(out / "best").iterdir(), state.states(out / "state")[-1]]
    told = [row for row in read_events(out / "events.jsonl") if row["kind"] == "judged"]
    return {
        "files": {str(path.relative_to(out)): path.read_bytes() for path in files},
        "judged": {row["step"]: {k: v for k, v in row.items() if k != "time"} for row in told},
    }


def test_killed_at_any_file_event(run: Run, project: Path):
    """Every write, flush, rename and removal can be the last thing a session did."""
    counted = run("straight", STOPS, {"folder": str(project / "straight")})
    assert counted["status"] == 0
    expected = left(project / "straight")
    assert list(expected["judged"]) == [1, 2, 3, 4]
    assert [expected["judged"][step]["best_step"] for step in (1, 2, 3, 4)] == [1, 2, 3, 3]
    begun = counted["seen"].index("open events.jsonl") + 1
    for event in range(begun + 9, counted["events"] + 1, counted["events"] // 7):
        out = project / f"k{event}"
        killed = run(out.name, STOPS, {"folder": str(out), "at_event": event})
        assert killed["status"] == -signal.SIGKILL, counted["seen"][event - 1]
        assert run(out.name, STOPS, resume=True)["status"] == 0
        assert left(out) == expected, counted["seen"][event - 1]


@pytest.mark.parametrize(
    ("merits", "steps"), [(STOPS, (2, 4)), (LASTS, (1, 5))], ids=["stops", "lasts"]
)
def test_killed_in_the_middle_of_judging(
    run: Run, project: Path, merits: dict[int, float], steps: tuple[int, ...]
):
    """One run, killed again and again: what was being judged is judged again, and counts once."""
    assert run("straight", merits)["status"] == 0
    expected = left(project / "straight")
    assert max(expected["judged"]) == max(steps)
    for number, step in enumerate(steps):
        ended = run("b", merits, resume=number > 0, killed_at=step)
        assert ended["status"] == -signal.SIGKILL
    assert run("b", merits, resume=True)["status"] == 0
    assert left(project / "b") == expected
    rows = [row for row in read_events(project / "b" / "events.jsonl") if row["kind"] == "judged"]
    assert [row["step"] for row in rows] == list(expected["judged"])
