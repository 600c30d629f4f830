"""C3, the web half: a job's folder tells the truth, whoever is killed."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from renma.studio.jobs.job import Job
from renma.studio.jobs.queue import Queue
from testbed.studio import call, end, serve


def until(true: Callable[[], Any], seconds: float = 60) -> Any:
    """Waits for something; returns what it is."""
    end = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)
    return found


def state_of(client: TestClient, name: str) -> str:
    return client.get(f"/api/jobs/{name}").json()["state"]


def test_a_task_is_done_in_a_process_of_its_own(client: TestClient, workspace: Path):
    client.post("/api/projects", json={"name": "one", "sample": "character"})
    new = {"task": "caption count", "options": {"folder": "one/train"}}
    made = client.post("/api/jobs", json=new).json()
    until(lambda: state_of(client, made["id"]) == "done")
    found = client.get(f"/api/jobs/{made['id']}").json()
    assert any("aa12" in line for line in client.get(f"/api/jobs/{made['id']}/log").json()["lines"])
    assert found["code"] == 0
    assert "renma caption count" in found["command"]
    started = json.loads(
        (workspace / ".renma-studio/jobs" / made["id"] / "started.json").read_text()
    )
    assert started["pid"] != os.getpid()


def test_a_mistake_is_told_in_its_own_line(client: TestClient, workspace: Path):
    (workspace / "empty").mkdir()
    new = {"task": "caption count", "options": {"folder": "empty"}}
    made = client.post("/api/jobs", json=new).json()
    until(lambda: state_of(client, made["id"]) == "failed")
    (job,) = client.get("/api/jobs").json()
    assert job["code"] == 2
    assert any(line.startswith("renma: ") for line in job["last"])


@pytest.mark.parametrize(
    ("task", "options"),
    [
        ("nothing", {}),
        ("studio", {}),
        ("caption count", {"folder": "../.."}),
        ("caption count", {"folder": "/etc"}),
        ("caption count", {"folder": "x", "unknown": 1}),
        ("caption count", {}),
        ("prepare face", {"sources": ["ok", "../out"], "size": "64x64"}),
        ("sample", {"model": "/etc/model", "prompt": ["x"]}),
        ("sample", {"model": "mame", "prompt": ["x <lora:../secret.safetensors:1>"]}),
        ("grid", {"sources": ["run"], "x": "checkpoint=/etc/a.safetensors"}),
        ("file show", {"file": "\\\\host\\share"}),
    ],
)
def test_what_cannot_be_is_refused_at_once(client: TestClient, task: str, options: dict[str, Any]):
    answer = client.post("/api/jobs", json={"task": task, "options": options})
    assert answer.status_code in (403, 404, 422)
    assert answer.json()["error"]
    assert client.get("/api/jobs").json() == []


def test_waiting_jobs_are_ordered_cancelled_and_forgotten(tmp_path: Path):
    queue = Queue(tmp_path / "jobs")  # it is not started: all wait
    first, second, third = (queue.add("caption count", {"folder": "x"}, str(n)) for n in range(3))
    queue.move(third.id, first.id)
    assert [job.title for job in queue.all()] == ["2", "0", "1"]
    queue.move(third.id, second.id)
    assert [job.title for job in queue.all()] == ["0", "2", "1"]
    queue.move(first.id, None)
    assert [job.title for job in queue.all()] == ["2", "1", "0"]
    assert queue.stop(second.id).state() == "cancelled"
    queue.remove(second.id)
    assert [job.title for job in queue.all()] == ["2", "0"]
    with pytest.raises(Exception, match="not over"):
        queue.remove(first.id)
    # another process finds the same: nothing is remembered outside of the folders
    assert [job.title for job in Queue(tmp_path / "jobs").all()] == ["2", "0"]


def test_a_job_that_began_and_holds_no_lock_has_died(tmp_path: Path):
    queue = Queue(tmp_path / "jobs")
    job = queue.add("caption count", {"folder": "x"}, "x")
    # the number of a process that lives: of this one; only the lock counts
    (job.folder / "started.json").write_text(json.dumps({"pid": os.getpid(), "time": 0}))
    assert job.state() == "died"
    with pytest.raises(Exception, match="not running"):
        queue.stop(job.id)


def test_damaged_folders_are_no_jobs(tmp_path: Path):
    queue = Queue(tmp_path / "jobs")
    for number, text in enumerate(["", "{", "[]", '{"task": 1}', "\x00"]):
        folder = tmp_path / "jobs" / f"{number:05d}"
        folder.mkdir()
        (folder / "job.json").write_text(text)
    assert queue.all() == []


@pytest.fixture
def trained(workspace: Path) -> dict[str, Any]:
    """Values of a run on the sample, long enough to be killed."""
    import tomllib

    from renma.config.run_tasks import InitOptions
    from renma.core.events import Silent
    from renma.use import init

    init.run(InitOptions(folder=workspace / "mine", sample="character"), Silent())
    values = tomllib.loads((workspace / "mine" / "run.toml").read_text())
    values["train"] |= {"max_steps": 400, "save_every_steps": 2, "state_every_minutes": 0}
    values["data"] |= {"batch_size": 1, "reg_folder": ""}
    values["sample"]["every_steps"] = 0
    return {"project": "mine", "values": values}


def pid_of(workspace: Path, name: str) -> int:
    path = workspace / ".renma-studio" / "jobs" / name / "started.json"
    return int(until(lambda: path.exists() and json.loads(path.read_text()))["pid"])


def test_whoever_is_killed_the_page_tells_the_truth(workspace: Path, trained: dict[str, Any]):
    """kill -9 of what trains, of the studio, of both: the truth within 5 seconds, and it goes on."""
    studio = serve(workspace)
    try:
        job = call(studio, "settings/train", trained)
        facts = f"runs/facts?path={job['links']['run']}"
        lora = workspace / "mine/runs/001/lora"
        until(lambda: len(list(lora.glob("*.safetensors"))) >= 2, 120)
        assert call(studio, facts)["state"] == "training"

        os.kill(pid_of(workspace, job["id"]), signal.SIGKILL)  # what trains
        until(lambda: call(studio, facts)["state"] == "died", 5)
        assert call(studio, f"jobs/{job['id']}")["state"] == "died"
        reached = call(studio, facts)["step"]

        again = call(studio, f"jobs/{job['id']}/again", {})
        until(lambda: call(studio, facts)["step"] > reached + 2, 120)
        pid = pid_of(workspace, again["id"])

        studio.process.kill()  # the studio: training goes on
        end(studio)
        os.kill(pid, 0)
        studio = serve(workspace)
        until(lambda: call(studio, facts)["state"] == "training", 5)
        assert call(studio, f"jobs/{again['id']}")["state"] == "running"

        studio.process.kill()  # both
        os.kill(pid, signal.SIGKILL)
        end(studio)
        studio = serve(workspace)
        until(lambda: call(studio, f"jobs/{again['id']}")["state"] == "died", 5)
        assert call(studio, facts)["state"] == "died"

        third = call(studio, f"jobs/{again['id']}/again", {})
        reached = call(studio, facts)["step"]
        until(lambda: call(studio, facts)["step"] > reached, 120)
        call(studio, "runs/ask", {"path": job["links"]["run"], "what": "stop"})
        until(lambda: call(studio, f"jobs/{third['id']}")["state"] == "stopped", 30)
        assert call(studio, facts)["state"] == "stopped"
    finally:
        end(studio)


def test_jobs_hold_no_secret(client: TestClient, workspace: Path):
    client.post("/api/projects", json={"name": "one", "sample": "character"})
    made = client.post(
        "/api/jobs", json={"task": "caption count", "options": {"folder": "one/train"}}
    ).json()
    until(lambda: state_of(client, made["id"]) == "done")
    folder = workspace / ".renma-studio" / "jobs" / made["id"]
    job = Job.read(folder)
    assert job is not None
    text = "".join(
        p.read_text() for p in folder.iterdir() if p.suffix in (".json", ".txt", ".jsonl")
    )
    assert "0123456789abcdef" not in text
