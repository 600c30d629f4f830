"""Methods and reports as scripts call them (rows C3, E8, E11, E12)."""

from __future__ import annotations

import json
import os
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from filelock import FileLock

from renma import assets
from renma.config import load_run
from renma.studio.app import application
from renma.studio.place import Place
from renma.studio.token import Token
from testbed.studio import SECRET
from testbed.studio_run import made_run, picture, score

ROOT = Path(__file__).parents[2]


@pytest.fixture
def calls(place: Place) -> Iterator[TestClient]:
    """A caller with the token, and a queue that begins nothing."""
    app: Any = application(place, Token(SECRET))
    headers = {"authorization": f"Bearer {SECRET}"}
    made = TestClient(app, base_url="http://127.0.0.1", headers=headers)
    yield made
    made.close()


def make(calls: TestClient, recipe: str, values: dict[str, Any], name: str = "own") -> Any:
    answer = calls.post(
        "/api/methods/make", json={"recipe": recipe, "name": name, "values": values}
    )
    assert answer.status_code == 200, answer.text
    return answer.json()


def wrong(found: dict[str, Any]) -> dict[str, str]:
    return {m["key"]: m["text"] for m in found["messages"] if m["level"] == "error"}


def test_every_recipe_is_on_a_card_with_its_own_numbers(calls: TestClient):
    found = calls.get("/api/methods").json()
    ways = {way["recipe"]: way for method in found["methods"] for way in method["ways"]}
    assert sorted(ways) == sorted(path.stem for path in (ROOT / "recipes").glob("*.toml"))
    for name, way in ways.items():
        values = tomllib.loads((ROOT / f"recipes/{name}.toml").read_text())
        shown = {field["key"]: field["value"] for field in way["fields"]}
        assert shown["train.max_steps"] == values["train"]["max_steps"]
        assert shown["optimizer.learning_rate"] == values["optimizer"]["learning_rate"]
        assert 5 <= len(shown) <= 11
        assert all(field["option"]["help"] for field in way["fields"])
        assert found["plans"][name]["seconds"] > 0
    assert found["plans"]["copier"]["steps"] == 600
    hints = {field["key"]: field["hint"] for field in ways["dylora"]["fields"]}
    assert hints["data.resolution"] == "512 for SD 1.x, 768 for SD 2.x, 1024 for SDXL"
    assert {"dora", "mora", "loha", "lokr", "ia3"} <= {row["name"] for row in found["adapters"]}


def test_a_recipe_is_tried_twice_in_two_folders(calls: TestClient, workspace: Path):
    paths = [
        calls.post("/api/methods/try", json={"recipe": "difference"}).json()["path"]
        for _ in range(2)
    ]
    assert paths == ["difference", "difference-2"]
    for path in paths:
        start = calls.get("/api/settings/start", params={"project": path}).json()
        body = {"project": path, "text": start["text"]}
        told = calls.post("/api/settings/check", json=body).json()
        assert told["plan"]["steps"] == 150
        assert not wrong(told)
    assert calls.post("/api/methods/try", json={"recipe": "lecco"}).status_code == 404


def test_a_run_of_ones_own(calls: TestClient, workspace: Path):
    """Own pictures, word and cycle; what belongs to the sample goes, what follows goes along."""
    picture(workspace / "mine/train/3_bb1 cat/0.png", (128, 128))
    (workspace / "mine/train/3_bb1 cat/0.txt").write_text("bb1, cat")
    values = {
        "data.train_folder": "mine/train", "output.trigger": "bb1", "relora.every_steps": 50,
        "adapter.rank": 2, "optimizer.learning_rate": 1e-4,
    }  # fmt: skip
    found = make(calls, "relora", values)
    assert found["path"] == "own"
    assert not wrong(found)
    run = load_run(workspace / "own/run.toml")
    assert run.data.train_folder == "../mine/train"
    assert (run.data.reg_folder, run.judge.attributes) == ("", {})
    assert (run.output.name, run.output.trigger) == ("bb1", "bb1")
    assert (run.relora.every_steps, run.schedule.cycle_steps) == (50, 50)  # pyright: ignore[reportAttributeAccessIssue]
    assert (run.adapter.rank, run.adapter.alpha) == (2, 2)  # pyright: ignore[reportAttributeAccessIssue]
    assert [path.name for path in (workspace / "own").iterdir()] == ["run.toml"]
    assert "# ReLoRA (arXiv" in (workspace / "own/run.toml").read_text()
    again = make(calls, "leco", {})
    assert (again["path"], wrong(again)) == ("", {"name": "'own': is taken. Choose another name."})


def test_another_model_gets_what_suits_it(calls: TestClient, workspace: Path):
    """Bucket sizes and short ways are for the small model; the sample's pictures may still serve."""
    found = make(calls, "qlora", {"model.path": "models/none"})
    assert found["path"] == ""
    assert set(wrong(found)) == {"model.path"}
    shutil.copytree(assets.MAME, workspace / "models/own")
    assert make(calls, "qlora", {"model.path": "models/own"})["path"]
    values = tomllib.loads((workspace / "own/run.toml").read_text())
    assert not {"resolution", "min_bucket_reso", "bucket_reso_steps"} & set(values["data"])
    # "1e-4 for a real model", "1500 to 3000 for a real model"
    assert (values["optimizer"]["learning_rate"], values["train"]["max_steps"]) == (1e-4, 1500)
    assert (workspace / "own/train").is_dir()
    given = {"model.path": "models/own", "train.max_steps": 7, "data.resolution": 128}
    assert make(calls, "leco", {k: v for k, v in given.items() if "data" not in k}, "less")["path"]
    values = tomllib.loads((workspace / "less/run.toml").read_text())
    assert (values["train"]["max_steps"], values["erase"].get("steps")) == (7, None)


@pytest.mark.parametrize(
    ("recipe", "values", "key"),
    [
        ("relora", {"relora.every_steps": -1}, "relora.every_steps"),
        ("relora", {"relora.every_steps": "often"}, "relora.every_steps"),
        ("relora", {"adapter.rank": 0}, "adapter.rank"),
        ("qlora", {"model.quantize": "int3"}, "model.quantize"),
        ("dylora", {"data.train_folder": "nowhere"}, "data.train_folder"),
        ("dylora", {"data.validation_split": 2.0}, "data.validation_split"),
        ("copier", {"copier.train_folder": "/etc"}, "copier.train_folder"),
        ("copier", {"copier.train_folder": "../../etc"}, "copier.train_folder"),
        ("difference", {"start.base_weights": "a/../../b"}, "start.base_weights"),
        ("difference", {"start.base_weights": "none.safetensors"}, "start.base_weights"),
        ("quality-up", {"start.weights": "@else/x.safetensors"}, "start.weights"),
        ("leco", {"erase.prompts.guidance_scale": -3}, "erase.prompts.guidance_scale"),
        (
            "leco",
            {"erase.prompts.target": ["a hat"], "erase.prompts.neutral": ["a", "b"]},
            "erase.prompts.neutral",
        ),
        ("leco-file", {"erase.prompts_file": "none.yaml"}, "erase.prompts_file"),
    ],
)
def test_a_mistake_stands_at_its_field_and_nothing_is_made(
    calls: TestClient, workspace: Path, recipe: str, values: dict[str, Any], key: str
):
    found = make(calls, recipe, values)
    assert found["path"] == ""
    assert key in wrong(found), found
    assert str(workspace) not in json.dumps(found)
    assert [path.name for path in workspace.iterdir()] == [".renma-studio"]


@pytest.mark.parametrize("name", ["a/b", "..", ".x", "@a", "con", "C:", "x\0", " "])
def test_a_bad_name_makes_nothing(calls: TestClient, workspace: Path, name: str):
    body = {"recipe": "leco", "name": name, "values": {}}
    assert calls.post("/api/methods/make", json=body).status_code in (403, 422)
    body = {"recipe": "leco", "name": "x", "values": {"output.log": "x"}}
    assert calls.post("/api/methods/make", json=body).status_code == 422
    assert [path.name for path in workspace.iterdir()] == [".renma-studio"]


def test_concepts_of_both_actions(calls: TestClient, workspace: Path):
    given = {
        "erase.prompts.target": ["a man, hat", "a dog, hat", "hat"],
        "erase.prompts.neutral": ["a man", "a dog"],
    }
    assert make(calls, "leco", {**given, "erase.prompts.positive": "hat"}, "less")["path"]
    less = load_run(workspace / "less/run.toml")
    assert [(p.action, p.target, p.like, p.away) for p in less.erase.prompts] == [
        ("erase", "a man, hat", "a man", "hat"),
        ("erase", "a dog, hat", "a dog", "hat"),
        ("erase", "hat", "", "hat"),
    ]
    assert less.sample.prompts == ()
    given["erase.prompts.target"].pop()
    assert make(calls, "leco-enhance", {**given, "erase.prompts.guidance_scale": 2}, "more")["path"]
    more = load_run(workspace / "more/run.toml")
    # what is added is the way from the prompt without the concept to the one with it
    assert [(p.action, p.target, p.like, p.away, p.unconditional) for p in more.erase.prompts] == [
        ("enhance", "a man", "a man", "a man, hat", "a man"),
        ("enhance", "a dog", "a dog", "a dog, hat", "a dog"),
    ]
    assert {p.guidance_scale for p in more.erase.prompts} == {2.0}


def test_pictures_are_light():
    for path in (ROOT / "src/renma/studio/static").glob("methods-*.*g"):
        assert path.stat().st_size <= 60 * 1024, path.name


def test_reports_are_told_with_their_age_and_verdict(calls: TestClient, workspace: Path):
    run = made_run(workspace / "mine/runs/001")
    (found,) = calls.get("/api/reports").json()
    assert (found["path"], found["made"], found["old"]) == ("mine/runs/001", None, False)
    assert calls.get("/api/reports/page", params={"path": "mine/runs/001"}).status_code == 404
    (run / "report.html").write_text("<p>told</p>")
    assert not calls.get("/api/reports").json()[0]["old"]
    (run / "score.json").write_text(json.dumps(score()))
    os.utime(run / "report.html", (1, 1))
    found = calls.get("/api/reports/of", params={"path": "mine/runs/001"}).json()
    assert found["old"]
    assert found["verdict"] == "Best of 2 checkpoints is step 20."
    (run / "score.json").write_text('["no score"]')
    assert calls.get("/api/reports").status_code == 200


def test_a_report_is_served_apart(calls: TestClient, workspace: Path):
    run = made_run(workspace / "run")
    (run / "report.html").write_text("<script>alert(1)</script>")
    answer = calls.get("/api/reports/page", params={"path": "run"})
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("sandbox allow-scripts;")
    assert "default-src 'none'" in policy
    assert "connect-src" not in policy, "falls back to none"
    assert "same-origin" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers.get_list("content-security-policy") == [policy]


def test_no_report_from_elsewhere(calls: TestClient, workspace: Path, tmp_path: Path):
    run = made_run(workspace / "run")
    (tmp_path / "secret.html").write_text("secret")
    (run / "report.html").symlink_to(tmp_path / "secret.html")
    for path in ("run", "../run", "/etc", "run/..", ".renma-studio"):
        answer = calls.get("/api/reports/page", params={"path": path})
        assert answer.status_code in (403, 404), path
        assert "secret" not in answer.text


def test_the_first_stage_is_told_while_it_is_all_there_is(calls: TestClient, workspace: Path):
    """Row E12: a copy-machine LoRA's run is there from its first step on."""
    run = workspace / "mine/runs/001"
    made_run(run / "copier")
    (run / "run.toml").write_text((run / "copier/run.toml").read_text())
    lock = FileLock(run / "copier/.lock")
    with lock:
        (row,) = calls.get("/api/runs").json()
        assert (row["path"], row["state"]) == ("mine/runs/001", "training")
        found = calls.get("/api/runs/facts", params={"path": "mine/runs/001"}).json()
        assert found["first"]["path"] == "mine/runs/001/copier"
        assert (found["first"]["state"], found["first"]["steps"]) == ("training", 20)
        ask = {"path": "mine/runs/001", "what": "stop"}
        assert calls.post("/api/runs/ask", json=ask).status_code == 200
        assert (run / "copier/requests/stop").exists()
    found = calls.get("/api/runs/facts", params={"path": "mine/runs/001"}).json()
    assert found["state"] == "stopped", "its file is there, the run has not begun: it can go on"
    rows = [{"kind": "started", "step": 0, "steps": 5, "time": 1.0}]
    (run / "events.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert calls.get("/api/runs").json()[0]["state"] == "died"


def test_a_run_that_waits_is_told(calls: TestClient, workspace: Path):
    calls.post("/api/methods/try", json={"recipe": "leco"})
    text = (workspace / "leco/run.toml").read_text()
    jobs = [
        calls.post("/api/settings/train", json={"project": "leco", "text": text}).json()
        for _ in range(2)
    ]
    path = jobs[1]["links"]["run"]
    found = calls.get("/api/runs/facts", params={"path": path}).json()
    assert (found["state"], found["waiting"]["before"]) == ("queued", 1)
    calls.post(f"/api/jobs/{jobs[1]['id']}/stop", json={})
    found = calls.get("/api/runs/facts", params={"path": path}).json()
    assert found["state"] == "cancelled"
    assert calls.get("/api/runs/facts", params={"path": "leco/runs/009"}).status_code == 404
