"""C3: what a job is given from the web leads nowhere else, and damaged folders harm no page."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from renma.core.errors import UserError
from renma.studio.app import application
from renma.studio.jobs import process
from renma.studio.jobs.queue import Queue
from renma.studio.place import Place
from renma.studio.serve import sole
from renma.studio.token import Token
from testbed.studio import SECRET
from testbed.studio_run import made_run

RUN = "mine/runs/001"


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder that is not the studio's."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "secret.toml").write_text('[output]\nname = "marker"\n')
    (folder / "secret.safetensors").write_bytes(b"")
    return folder


@pytest.fixture
def calls(workspace: Path, outside: Path) -> TestClient:
    """A caller with a run, a link to outside, and a queue that begins nothing."""
    made_run(workspace / RUN)
    (workspace / "link.safetensors").symlink_to(outside / "secret.safetensors")
    (workspace / "far.toml").write_text(f'[data]\ntrain_folder = "{outside}"\n')
    (workspace / "linked.toml").symlink_to(outside / "secret.toml")
    app: Any = application(Place.made(workspace), Token(SECRET))
    headers = {"authorization": f"Bearer {SECRET}"}
    return TestClient(app, base_url="http://127.0.0.1", headers=headers)


@pytest.mark.parametrize(
    ("task", "options"),
    [
        ("check", {"run": "far.toml"}),
        ("check", {"run": "linked.toml"}),
        ("check", {"run": RUN, "set": ["data.train_folder='OUT'"]}),
        ("check", {"run": RUN, "set": ['data.train_folder="OUT"']}),
        ("train", {"run": RUN, "set": ["data={train_folder='OUT'}"]}),
        ("grid", {"sources": [RUN], "x": 'checkpoint="OUT/x.safetensors"', "out": "g.png"}),
        ("import-kohya", {"source": "train_network.py --dataset_config 'OUT/a.toml'", "out": "r.toml"}),
        ("file merge", {"files": ["link.safetensors:1"], "out": "m.safetensors"}),
        ("file show", {"file": "link.safetensors"}),
        ("sample", {"prompt": ["<lora:OUT/secret.safetensors:1> a"], "out": "p"}),
    ],
)  # fmt: skip
def test_no_option_leads_outside(
    calls: TestClient, outside: Path, task: str, options: dict[str, Any]
):
    """Neither in quotes, nor through settings or a link; nothing is queued."""
    named = json.loads(json.dumps(options).replace("OUT", str(outside)))
    answer = calls.post("/api/jobs", json={"task": task, "options": named})
    assert answer.status_code == 403, answer.text
    assert "marker" not in answer.text
    assert calls.get("/api/jobs").json() == []


@pytest.mark.parametrize("name", ["run.toml", "events.jsonl", "score.json"])
def test_linked_files_of_a_run_are_not_read(
    calls: TestClient, workspace: Path, outside: Path, name: str
):
    """The run is none, for lists and for every call about it."""
    secret = outside / name
    secret.write_text('{"kind": "warned", "text": "marker"}\n' if "json" in name else "# marker\n")
    (workspace / RUN / name).unlink(missing_ok=True)
    (workspace / RUN / name).symlink_to(secret)
    for call in ("runs/facts", "runs/settings", "settings/start?clone=1", "reports/of"):
        answer = calls.get(f"/api/{call}", params={"path": RUN, "project": "mine"})
        assert answer.status_code in (403, 404, 422) or "marker" not in answer.text, call
        assert "marker" not in answer.text
    assert RUN not in [row["path"] for row in calls.get("/api/runs").json()]


@pytest.mark.parametrize(
    "line",
    [
        '{"kind": "step"}', '{"kind": "step", "step": "x"}', '{"kind": "step", "step": null}',
        '{"kind": "sample", "step": 1}', '{"kind": "saved", "path": 7}',
        '{"kind": "validated", "loss": 1}', '{"kind": "step", "step": 3, "steps": "many"}',
        '{"kind": "step", "step": 3, "seconds": [1]}', '{"kind": "finished", "time": "late"}',
        "[]", '"step"', "\x00",
    ],
)  # fmt: skip
def test_a_damaged_run_harms_no_page(calls: TestClient, workspace: Path, line: str):
    events = workspace / RUN / "events.jsonl"
    events.write_text(events.read_text() + f"{line}\n{line}\n")
    for call in ("runs", "reports", f"runs/facts?path={RUN}", f"reports/of?path={RUN}"):
        assert calls.get(f"/api/{call}").status_code == 200, call


@pytest.mark.parametrize("data", [b"\xff\xfe\x00bin\x00", b"[[[", b"a = "])
def test_settings_that_cannot_be_read_are_said(calls: TestClient, workspace: Path, data: bytes):
    (workspace / RUN / "run.toml").write_bytes(data)
    assert calls.get("/api/runs").status_code == 200
    assert calls.get("/api/runs/settings", params={"path": RUN}).status_code == 422


def test_a_resumed_run_tells_held_out_losses_once(calls: TestClient, workspace: Path):
    rows = [{"kind": "step", "step": n} for n in (1, 2)]
    rows += [{"kind": "validated", "step": 2, "loss": 0.5}, {"kind": "step", "step": 2}]
    rows += [{"kind": "validated", "step": 2, "loss": 0.6}]
    (workspace / RUN / "events.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    facts = calls.get("/api/runs/facts", params={"path": RUN}).json()
    assert [point["step"] for point in facts["points"]] == [1, 2]
    assert facts["validated"] == [{"step": 2, "loss": 0.6}]


@pytest.mark.parametrize("ending", [".py", ".jpg", ".png", ".toml", ".safetensors", ".exe"])
def test_captions_are_not_written_as_anything_else(calls: TestClient, ending: str):
    wish = {"path": "mine", "name": "a.png", "text": "import os", "extension": ending}
    assert calls.post("/api/datasets/caption", json=wish).status_code == 422


def test_what_lies_in_the_workspace_is_not_imported(workspace: Path, tmp_path: Path):
    """A stranger's folder of pictures may hold programs too."""
    canary = tmp_path / "canary"
    for name in ("filelock", "random", "pydantic", "renma"):
        (workspace / f"{name}.py").write_text(f"open({str(canary)!r}, 'w').close()\n")
    (workspace / "set").mkdir()
    (workspace / "set/a.png").write_bytes(b"")
    (workspace / "set/a.txt").write_text("a, b")
    queue = Queue(tmp_path / "jobs", workspace)
    queue.start()
    try:
        job = queue.add("caption count", {"folder": str(workspace / "set")}, "count")
        end = time.monotonic() + 60
        while job.state() in ("queued", "running") and time.monotonic() < end:
            time.sleep(0.1)
    finally:
        queue.close()
    assert job.state() == "done", job.last_lines()
    assert not canary.exists()


def test_a_job_that_was_taken_back_is_not_done(tmp_path: Path):
    queue = Queue(tmp_path / "jobs")
    job = queue.add("caption count", {"folder": str(tmp_path)}, "count")
    queue.stop(job.id)
    assert process.main(job.folder) != 0
    assert job.started() is None
    assert job.state() == "cancelled"


def test_numbers_of_jobs_are_never_used_again(tmp_path: Path):
    queue = Queue(tmp_path / "jobs")
    first = queue.add("caption count", {"folder": str(tmp_path)}, "count")
    queue.stop(first.id)
    queue.remove(first.id)
    assert queue.add("caption count", {"folder": str(tmp_path)}, "count").id != first.id


def test_one_studio_works_in_a_workspace(workspace: Path):
    place = Place.made(workspace)
    with sole(place), pytest.raises(UserError, match="another studio works in this folder"):
        sole(place)
    sole(place).release()


def test_a_training_without_a_folder_can_be_put_in_again(tmp_path: Path):
    queue = Queue(tmp_path / "jobs")
    job = queue.add("train", {"run": "mine"}, "train")
    queue.stop(job.id)
    assert queue.again(job.id).options == {"run": "mine"}
