"""The settings of a run as the page about new runs sees them (row C3)."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st

from renma.config import views
from renma.studio import settings_schema
from renma.studio.app import application
from renma.studio.place import Place
from renma.studio.settings_file import merged
from renma.studio.settings_paths import PLACES
from renma.studio.settings_plan import bent
from renma.studio.token import Token
from testbed.studio import SECRET

NAMES = st.from_regex(r"[a-z][a-z_]{0,8}", fullmatch=True)
PLAIN = st.one_of(
    st.booleans(), st.integers(-(2**53), 2**53), st.text("a\"'#\\ é\n", max_size=8),
    st.floats(allow_nan=False, allow_infinity=False), st.lists(st.integers(0, 9), max_size=4),
)  # fmt: skip
TABLES = st.dictionaries(NAMES, st.dictionaries(NAMES, PLAIN, min_size=1, max_size=4), max_size=4)


@pytest.fixture
def calls(place: Place) -> Iterator[TestClient]:
    """A caller with the token, a sample project, and a queue that begins nothing."""
    app: Any = application(place, Token(SECRET))
    headers = {"authorization": f"Bearer {SECRET}"}
    made = TestClient(app, base_url="http://127.0.0.1", headers=headers)
    made.post("/api/projects", json={"name": "mine", "sample": "character"})
    yield made
    made.close()


def begun(calls: TestClient) -> dict[str, Any]:
    return calls.get("/api/settings/start", params={"project": "mine"}).json()


def check(calls: TestClient, values: dict[str, Any], text: str = "") -> dict[str, Any]:
    body = {"project": "mine", "values": values, "text": text}
    answer = calls.post("/api/settings/check", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def changed(values: dict[str, Any], **more: dict[str, Any]) -> dict[str, Any]:
    return {**values, **{name: {**values.get(name, {}), **keys} for name, keys in more.items()}}


def test_every_option_of_the_manual_is_there_with_its_level_and_kohya_name(calls: TestClient):
    found = calls.get("/api/settings/options").json()["sections"]
    ours = {
        (table["table"], option["key"], option["level"], option["kohya"])
        for section in found
        for table in section["tables"]
        for option in table["options"]
        if not table["table"].startswith(("data.datasets", "erase.prompts"))
    }
    manual = {
        (chapter.table, option.key, option.level, option.kohya)
        for name in views.sections()
        for chapter in views.chapters(name)
        for option in chapter.options
        if not chapter.table.startswith(("data.datasets", "erase.prompts"))
    }
    assert ours == manual
    rank = next(o for o in found[2]["tables"][0]["options"] if o["key"] == "rank")
    assert (rank["kind"], rank["ge"], rank["le"], rank["default"]) == ("whole", 1, 4096, 4)


def test_the_plan_is_that_of_the_command(calls: TestClient, workspace: Path, capsys: Any):
    from renma.cli import main

    told = check(calls, begun(calls)["values"])
    assert main(["check", str(workspace / "mine" / "run.toml"), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    for name in ("steps", "pictures", "buckets", "parameters", "memory_mib", "epochs"):
        assert told["plan"][name] == said[name], name


def test_learning_rates_are_those_of_the_schedule(calls: TestClient):
    values = changed(begun(calls)["values"], train={"max_steps": 50})
    values |= {"schedule": {"name": "cosine"}, "optimizer": {"learning_rate": 1e-3}}
    (row,) = check(calls, values)["rates"]
    assert row["name"] == "unet, text_encoder"
    for step, rate in row["points"]:
        expected = 1e-3 * 0.5 * (1 + math.cos(math.pi * (step - 1) / 50))
        assert rate == pytest.approx(expected, abs=1e-12)
    assert row["points"][0][0] == 1
    assert row["points"][-1][0] == 50
    assert len(row["points"]) > 40  # a curve, not a line


def test_every_mistake_stands_at_its_option(calls: TestClient):
    values = changed(
        begun(calls)["values"], adapter={"rank": 0}, data={"batch_size": "x"}, train={"seed": -1}
    )
    found = check(calls, values)
    keys = {row["key"] for row in found["messages"] if row["level"] == "error"}
    assert {"adapter.rank", "data.batch_size", "train.seed"} <= keys
    assert found["plan"] is None


def test_a_likely_mistake_stands_at_its_option(calls: TestClient):
    found = check(calls, changed(begun(calls)["values"], train={"max_steps": 2}))
    assert any(r["level"] == "warning" and r["key"] == "train.max_steps" for r in found["messages"])


def test_only_what_was_changed_is_written_and_comments_stay(calls: TestClient):
    start = begun(calls)
    values = changed(start["values"], adapter={"rank": 8})
    del values["schedule"]["warmup_steps"]
    text = check(calls, values, start["text"])["text"]
    before, after = start["text"].splitlines(), text.splitlines()
    assert [line for line in after if line not in before] == ["rank = 8"]
    gone = [line for line in before if line not in after]
    assert "rank = 16" in gone
    assert "warmup_steps = 0.05" in gone
    assert not any("Steps of linear rise" in line for line in after)  # its help went with it
    assert any("Width of the low-rank" in line for line in after)


def test_a_text_that_is_no_toml_is_said_with_its_line(calls: TestClient):
    body = {"project": "mine", "text": "[data]\nx = = 1\n"}
    found = calls.post("/api/settings/check", json=body).json()
    assert "line 2" in found["messages"][0]["text"]


@given(TABLES, TABLES)
@settings(max_examples=60, deadline=None)
def test_a_text_says_what_was_laid_into_it(old: dict[str, Any], new: dict[str, Any]):
    text = "# kept\n" + merged("", old)
    assert tomllib.loads(merged(text, new)) == new


@given(st.lists(st.floats(0, 1), min_size=2, max_size=40))
def test_a_thinned_curve_passes_through_every_point(rates: list[float]):
    points = list(enumerate(rates))
    kept = bent(points)
    for (x0, y0), (x1, y1) in pairwise(kept):
        for x in range(x0, x1 + 1):
            line = y0 + (y1 - y0) * (x - x0) / (x1 - x0)
            assert line == pytest.approx(rates[x], abs=1e-6 * len(rates))
    assert kept[-1] == points[-1]


OUTSIDE = ("/etc/passwd", "../../etc", "~/x", "@none/x", "link/x", "a\\..\\b", "x\0y")


@pytest.mark.parametrize("where", OUTSIDE)
def test_no_path_of_the_settings_leads_out(calls: TestClient, workspace: Path, where: str):
    """Group "web paths" of the bad inputs."""
    (workspace / "mine" / "link").symlink_to("/etc")
    for table, key in PLACES:
        inner: dict[str, Any] = {key: [where] if key == "base_weights" else where}
        raw: dict[str, Any] = {table: inner}
        if table == "subsets":
            raw = {"data": {"datasets": [{"subsets": [inner]}]}}
        if table == "targets":
            raw = {"adapter": {"targets": inner}}
        body = {"project": "mine", "values": raw}
        found = calls.post("/api/settings/check", json=body)
        if found.status_code == 200:
            (wrong,) = [row for row in found.json()["messages"] if row["level"] == "error"]
            assert wrong["key"].endswith(f"{table}.{key}"), wrong
            assert "workspace" in wrong["text"] or "no folder of this studio" in wrong["text"]
        else:
            assert found.status_code in (403, 422)


def test_a_folder_of_another_project_may_be_used(calls: TestClient):
    calls.post("/api/projects", json={"name": "other", "sample": "style"})
    found = check(calls, changed(begun(calls)["values"], data={"train_folder": "../other/train"}))
    assert not [row for row in found["messages"] if row["level"] == "error"]


def test_a_run_is_trained_with_what_was_asked_for_when_it_was_asked(
    calls: TestClient, workspace: Path
):
    values = begun(calls)["values"]
    for rank in (4, 8):
        body = {"project": "mine", "values": changed(values, adapter={"rank": rank})}
        assert calls.post("/api/settings/train", json=body).status_code == 200
    jobs = calls.get("/api/jobs").json()
    assert [job["links"]["run"] for job in jobs] == ["mine/runs/001", "mine/runs/002"]
    for name, rank in (("001", 4), ("002", 8)):
        raw = tomllib.loads((workspace / f"mine/runs/{name}.toml").read_text())
        assert raw["adapter"]["rank"] == rank
        assert (workspace / "mine/runs" / raw["data"]["train_folder"]).resolve() == (
            workspace / "mine/train"
        )
    assert "rank = 4" in (workspace / "mine/run.before.toml").read_text()


def test_nothing_is_trained_while_something_is_wrong(calls: TestClient, workspace: Path):
    before = (workspace / "mine/run.toml").read_bytes()
    body = {"project": "mine", "values": {"adapter": {"rank": 0}}}
    assert calls.post("/api/settings/train", json=body).status_code == 422
    assert (workspace / "mine/run.toml").read_bytes() == before
    assert calls.get("/api/jobs").json() == []


def test_a_run_of_the_studio_is_cloned_as_it_was_written(calls: TestClient, workspace: Path):
    start = begun(calls)
    calls.post("/api/settings/train", json={"project": "mine", "text": start["text"]})
    run = workspace / "mine/runs/001"
    run.mkdir()
    for name in ("run.toml", "events.jsonl"):
        (run / name).touch()
    found = calls.get("/api/settings/start", params={"clone": "mine/runs/001"}).json()
    assert found["project"] == "mine"
    assert found["text"] == start["text"]


def test_a_run_of_the_command_is_cloned_without_its_defaults(calls: TestClient, workspace: Path):
    from renma.config import dump
    from renma.data.folder import expand
    from renma.train.folder import with_places
    from renma.train.source import load

    source = load(workspace / "mine/run.toml", None, ["adapter.algo=loha", "adapter.rank=3"])
    run = workspace / "mine/runs/007"
    run.mkdir(parents=True)
    text = dump(with_places(source.run, source.base, expand(source.run.data, source.base)))
    (run / "run.toml").write_text(text)
    (run / "events.jsonl").touch()
    values = calls.get("/api/settings/start", params={"clone": "mine/runs/007"}).json()["values"]
    own = begun(calls)["values"]
    assert values["adapter"] == {"algo": "loha", "rank": 3, "alpha": 16.0}
    assert values["data"] == own["data"]
    assert values["optimizer"] == own["optimizer"]


COMMAND = """accelerate launch --num_cpu_threads_per_process 1 train_network.py \\
  --pretrained_model_name_or_path=mame --train_data_dir=train --resolution=128,128 \\
  --network_module=networks.lora --network_dim=8 --max_train_steps=20 """


def kohya(calls: TestClient, text: str) -> Any:
    return calls.post("/api/settings/import", json={"project": "mine", "text": text})


def test_a_command_of_kohya_becomes_settings_that_have_a_plan(calls: TestClient):
    found = kohya(calls, COMMAND).json()
    assert found["values"]["adapter"]["rank"] == 8
    assert found["values"]["data"]["train_folder"] == "train"
    assert found["refused"] == []
    plan = check(calls, found["values"])["plan"]
    assert plan["steps"] == 20


def test_what_cannot_be_translated_is_named(calls: TestClient):
    found = kohya(calls, COMMAND + "--dataset_class x.Y").json()
    assert "--dataset_class" in found["refused"][0]
    kinds = {row["option"]: row["kind"] for row in found["rows"]}
    assert kinds["dataset_class"] == "not supported"
    assert kinds["network_dim"] == "renamed"


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ('pretrained_model_name_or_path = "mame"\nnetwork_dim = 6\n', "adapter", 6),
        ('{"LoRA_type": "Standard", "network_dim": 7}', "adapter", 7),
    ],
)
def test_config_files_and_presets_are_read(calls: TestClient, text: str, key: str, value: int):
    assert kohya(calls, text).json()["values"][key]["rank"] == value


def test_a_data_set_file_is_read_without_the_place_of_the_studio(calls: TestClient):
    answer = kohya(calls, '[[datasets]]\n[[datasets.subsets]]\nimage_dir = "train/1_x"\n')
    assert answer.json()["values"]["data"]["datasets"][0]["subsets"] == [{"image_dir": "train/1_x"}]
    assert "renma-studio" not in answer.text


@pytest.mark.parametrize("option", ["--config_file", "--dataset_config"])
def test_pasted_settings_read_no_file_outside(calls: TestClient, workspace: Path, option: str):
    secret = workspace.parent / "secret.toml"
    secret.write_text("[[marker]]\nword = 'hidden'\n")
    for path in (str(secret), "../../secret.toml"):
        answer = kohya(calls, f"{COMMAND} {option}={path}")
        assert answer.status_code == 422
        assert "leads out" in answer.text
        assert "marker" not in answer.text
    assert not list((workspace / ".renma-studio").glob("import-*"))


@pytest.mark.parametrize("value", [[None], [[None]], {"a": [None, 1]}, [{"a": None}, 1]])
def test_what_has_no_form_in_toml_is_a_mistake_and_no_defect(client: TestClient, value: object):
    client.post("/api/projects", json={"name": "mine", "sample": "character"})
    given = {"project": "mine", "values": {"sample": {"prompts": value}}}
    for call in ("check", "train"):
        answer = client.post(f"/api/settings/{call}", json=given)
        assert answer.status_code in (200, 422), answer.text
    assert client.get("/api/jobs").json() == []


def test_an_option_that_is_a_list_is_written_as_one() -> None:
    """What the page writes as one text, `renma check` would refuse where it wants several (C3)."""
    for section in settings_schema.manual():
        for table in section["tables"]:
            for option in table["options"]:
                if isinstance(option["default"], list):
                    assert option["kind"] in ("lines", "value"), (table["table"], option["key"])
