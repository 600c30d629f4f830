"""A judged run killed by SIGKILL at any moment stops where the undisturbed one does (G3, G5)."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from renma.core.events import read_events
from renma.formats import state
from testbed.referees import FEW

VALUES = [
    "train.max_steps=4", "train.save_every_steps=1", "train.keep_checkpoints=1",
    "stop.every_checkpoints=1", "stop.patience=2", "stop.min_delta=0.01", FEW,
]  # fmt: skip
STOPS = {1: 0.7, 2: 0.705, 3: 0.2, 4: 0.9}
"""Step 2 is the best, but by too little to count: the run ends after step 3."""
LASTS = {1: 0.5, 2: 0.7, 3: 0.6, 4: 0.9}
"""Nothing ends it before step 4, whose LoRA is judged too."""


@pytest.fixture(scope="module")
def project(drawn_run: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One project for all, so that undisturbed runs are trained once."""
    return drawn_run.made(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def run(forks: Any, project: Path) -> Callable[..., dict[str, Any]]:
    """Trains in a child; ``how`` is for the fork server, the rest for the job."""

    def job(out: str, merits: dict[int, float], how: dict[str, Any] | None = None, **args: Any):
        given = {"project": str(project), "out": out, "values": VALUES, "merits": merits, **args}
        return forks("stopping", how, **given)

    return job


@pytest.fixture(scope="module")
def straight(run: Any, project: Path) -> Callable[..., dict[str, Any]]:
    """Gives an undisturbed run: what its child told, with what it left."""
    known: dict[str, dict[str, Any]] = {}

    def trained(name: str, merits: dict[int, float]) -> dict[str, Any]:
        if name not in known:
            out = project / name
            known[name] = run(name, merits, {"folder": str(out)})
            assert known[name]["status"] == 0
            known[name]["left"] = left(out)
        return known[name]

    return trained


def left(out: Path) -> dict[str, Any]:
    """What a finished run leaves: LoRAs and the newest state, to the byte; judgements by step."""
    files = [*(out / "lora").iterdir(), *(out / "best").iterdir(), state.states(out / "state")[-1]]
    told = [row for row in read_events(out / "events.jsonl") if row["kind"] == "judged"]
    return {
        "files": {str(path.relative_to(out)): path.read_bytes() for path in files},
        "judged": {row["step"]: {k: v for k, v in row.items() if k != "time"} for row in told},
    }


@pytest.mark.parametrize("kills", [3, pytest.param(40, marks=pytest.mark.slow)])
def test_killed_at_any_file_event(run: Any, project: Path, straight: Any, kills: int):
    """Every write, flush, rename and removal can be the last thing a session did."""
    counted = straight("stops", STOPS)
    expected = counted["left"]
    assert list(expected["judged"]) == [1, 2, 3]
    assert [expected["judged"][step]["best_step"] for step in (1, 2, 3)] == [1, 2, 2]
    begun = counted["seen"].index("open events.jsonl") + 1
    for event in range(begun + 9, counted["events"] + 1, counted["events"] // kills):
        out = project / f"of{kills}-{event}"
        killed = run(out.name, STOPS, {"folder": str(out), "at_event": event})
        assert killed["status"] == -signal.SIGKILL, counted["seen"][event - 1]
        assert run(out.name, STOPS, resume=True)["status"] == 0
        assert left(out) == expected, counted["seen"][event - 1]


@pytest.mark.parametrize(
    ("name", "merits", "steps"), [("stops", STOPS, (2, 3)), ("lasts", LASTS, (1, 4))]
)
def test_killed_in_the_middle_of_judging(
    run: Any, project: Path, straight: Any, name: str, merits: dict[int, float], steps: Any
):
    """One run, killed again and again: what was being judged is judged again, and counts once."""
    expected, out = straight(name, merits)["left"], project / f"again-{name}"
    assert max(expected["judged"]) == max(steps)
    for number, step in enumerate(steps):
        ended = run(out.name, merits, resume=number > 0, killed_at=step)
        assert ended["status"] == -signal.SIGKILL
    assert run(out.name, merits, resume=True)["status"] == 0
    assert left(out) == expected
    rows = [row for row in read_events(out / "events.jsonl") if row["kind"] == "judged"]
    assert [row["step"] for row in rows] == list(expected["judged"])
