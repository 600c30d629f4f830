"""LoRA files as the interface tells and changes them (rows C3 and the web half of the file tools)."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from renma.studio.app import application
from renma.studio.place import Place
from renma.studio.token import Token
from testbed import lora_bytes
from testbed.studio import SECRET
from testbed.studio_run import made_run, picture

FILE = "loras/one.safetensors"


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A folder of models outside the workspace."""
    lora_bytes.lora(tmp_path / "kept" / "deep" / "other.safetensors", 4)
    return tmp_path / "kept"


@pytest.fixture
def calls(workspace: Path, models: Path) -> Iterator[TestClient]:
    """A caller with a LoRA, a folder of models, and a queue that begins nothing."""
    lora_bytes.lora(workspace / FILE)
    app: Any = application(Place.made(workspace, [models]), Token(SECRET))
    headers = {"authorization": f"Bearer {SECRET}"}
    made = TestClient(app, base_url="http://127.0.0.1", headers=headers)
    yield made
    made.close()


def get(calls: TestClient, what: str, **more: Any) -> Any:
    answer = calls.get(f"/api/lora-files{what}", params=more)
    assert answer.status_code == 200, answer.text
    return answer.json()


def post(calls: TestClient, what: str, **body: Any) -> Any:
    return calls.post(f"/api/lora-files/{what}", json=body)


def entries(path: Path) -> dict[str, str]:
    """Returns the metadata as the file holds it."""
    data = path.read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return header.get("__metadata__", {})


def weights(path: Path) -> bytes:
    data = path.read_bytes()
    return data[8 + int.from_bytes(data[:8], "little") :]


def test_all_files_are_listed_newest_first_with_their_runs(calls: TestClient, workspace: Path):
    run = made_run(workspace / "mine/runs/001")
    lora_bytes.lora(run / "lora/aa12-step00000010.safetensors")
    (run / "lora/aa12.safetensors").unlink()
    (run / "state").mkdir()
    lora_bytes.lora(run / "state/step-1.safetensors")
    (workspace / "model.safetensors").write_bytes(lora_bytes.described({"unet.weight": [2]}))
    (workspace / "cut.safetensors").write_bytes(b"12345678{")
    for age, name in enumerate(("mine/runs/001/lora/aa12-step00000010.safetensors", FILE)):
        os.utime(workspace / name, (1e9 - age, 1e9 - age))
    found = get(calls, "")
    rows = {row["file"]: row for row in found["files"]}
    assert list(rows)[-2:] == ["mine/runs/001/lora/aa12-step00000010.safetensors", FILE]
    assert rows.keys() - {FILE} == {
        "@kept/deep/other.safetensors", "cut.safetensors",
        "mine/runs/001/lora/aa12-step00000010.safetensors",
    }  # fmt: skip
    assert found["others"] == 1
    step = rows["mine/runs/001/lora/aa12-step00000010.safetensors"]
    assert (step["run"], step["step"]) == ("mine/runs/001", 10)
    assert rows["cut.safetensors"]["kind"] == "broken"
    assert rows["@kept/deep/other.safetensors"]["ranks"] == [4, 4]
    more = get(calls, "", others=True)["files"]
    assert [row["kind"] for row in more if row["name"] == "model.safetensors"] == ["other"]


@pytest.mark.parametrize(
    ("task", "options", "allowed"),
    [
        ("file resize", {"file": "@/own.safetensors", "out": "a.safetensors", "rank": 1}, True),
        ("file resize", {"file": "a.safetensors", "out": "@/b.safetensors", "rank": 1}, False),
        ("file edit", {"file": "@/own.safetensors", "set": ["a=b"]}, False),
        ("file edit", {"file": "@/own.safetensors", "out": "a.safetensors"}, True),
        ("caption edit", {"folder": "@"}, False),
        ("judge", {"folder": "@/run"}, False),
        ("blocks", {"lora": "@/own.safetensors", "model": "mame"}, False),
        ("blocks", {"lora": "@/own.safetensors", "model": "mame", "out": "b.html"}, True),
        ("blocks", {"lora": "@/run", "out": "b.html"}, False),  # draws cells into the run
        ("grid", {"sources": ["@/run"], "x": "seed=1,2", "out": "g.png"}, False),
    ],
)  # fmt: skip
def test_no_job_writes_into_a_folder_of_models(
    calls: TestClient, models: Path, task: str, options: dict[str, Any], allowed: bool
):
    """They are only read (C3): what a task would write into is refused before it is queued."""
    (models / "run").mkdir()
    named = json.loads(json.dumps(options).replace('"@', f'"@{models.name}'))
    answer = calls.post("/api/jobs", json={"task": task, "options": named})
    assert answer.status_code == (200 if allowed else 403), answer.text


@pytest.mark.parametrize(
    ("search", "count"),
    [("loras/ONE", 1), ("red hair", 2), ("sd_v1", 2), ("MAX_TRAIN", 2), ("nowhere", 0)],
)
def test_files_are_found_by_name_and_by_any_metadata(calls: TestClient, search: str, count: int):
    assert len(get(calls, "", search=search)["files"]) == count


def test_what_a_file_is_comes_from_its_header(calls: TestClient):
    found = get(calls, "/facts", file=FILE)
    assert found["algorithms"] == {"lora": 3}
    assert found["ranks"] == {"2": 3}
    assert found["alphas"] == {"1": 3}
    assert found["parts"] == {"unet": 2, "text_encoder": 1}
    assert found["precisions"] == {"fp32": 6}
    assert found["parameters"] == 2 * (8 + 8) * 2 + 2 * (768 + 8)
    assert found["base"]["told"] == "sd_v1"
    assert found["base"]["guess"] == "SD 1.x"
    assert [row["block"] for row in found["blocks"]] == ["TE", "IN01", "M00"]
    told = dict(found["training"])
    assert told["steps"] == "20 / 30"
    assert told["rates"] == "U-Net 0.0001, text encoder 5e-05"
    assert told["optimizer"] == "AdamW(weight_decay=0.1)"
    assert told["folders"] == "10_aa12 person: 4 × 10"
    assert told["started"] == "2023-11-14 22:13 UTC"
    assert found["triggers"] == ["aa12 person"]
    assert found["trouble"] == []


def test_what_is_wrong_with_a_file_is_named(calls: TestClient, workspace: Path):
    rows = lora_bytes.shapes()
    first, second, third = lora_bytes.LAYERS
    del rows[f"{first}.lora_up.weight"]
    rows[f"{second}.hada_w1_a"] = [8, 2]
    rows["model.diffusion_model.x.weight"] = [2]
    rows["lora_unet_nothing_known.lora_down.weight"] = [2, 8]
    rows["lora_unet_nothing_known.lora_up.weight"] = [8, 2]
    data = bytearray(lora_bytes.described(rows))
    path = workspace / "odd.safetensors"
    path.write_bytes(bytes(data))
    found = get(calls, "/facts", file="odd.safetensors")
    trouble = {row["name"]: row for row in found["trouble"]}
    assert trouble["odd"]["text"] == "model.diffusion_model.x.weight"
    assert trouble["incomplete"]["text"] == first
    assert trouble["unknown"]["count"] == 1
    assert "loha" in trouble["programs"]["text"]
    assert third not in json.dumps(trouble)


def test_hashes_are_those_that_web_uis_show(calls: TestClient, workspace: Path):
    path = workspace / FILE
    found = get(calls, "/hashes", file=FILE)
    assert found["whole"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert found["weights"] == hashlib.sha256(weights(path)).hexdigest()
    assert found["told"] is None
    for said, right in ((found["weights"], True), ("0" * 64, False)):
        lora_bytes.lora(path, sshs_model_hash=said)
        assert get(calls, "/hashes", file=FILE)["told"] is right
    assert get(calls, "/facts", file=FILE)["hashes"]["weights"] == "0" * 64


def test_tags_and_metadata_are_text(calls: TestClient):
    assert get(calls, "/tags", file=FILE)["tags"] == [["aa12", 40], ["smile", 35], ["red hair", 20]]
    found = get(calls, "/metadata", file=FILE, search="RED HAIR")
    assert [row["key"] for row in found["entries"]] == ["ss_tag_frequency"]
    rows = {row["key"]: row for row in get(calls, "/metadata", file=FILE)["entries"]}
    assert rows["note"]["text"] == "line one\nline two"
    assert rows.keys() == lora_bytes.METADATA.keys()


def test_long_values_are_folded_and_found_inside(calls: TestClient, workspace: Path):
    lora_bytes.lora(workspace / FILE, long="a" * 5000 + "needle" + "b" * 5000)
    (row,) = get(calls, "/metadata", file=FILE, search="needle")["entries"]
    assert row["folded"]
    assert "needle" in row["text"]
    assert len(row["text"]) < 1000
    whole = get(calls, "/entry", file=FILE, key="long")
    assert whole["characters"] == 10006 == len(whole["text"])
    assert whole["raw"] == whole["text"]


def test_a_cover_is_drawn_anew_from_its_pixels(calls: TestClient, workspace: Path):
    buffer = io.BytesIO()
    Image.new("RGB", (900, 600), "teal").save(buffer, "PNG")
    text = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    lora_bytes.lora(workspace / FILE, **{"modelspec.thumbnail": text})
    assert get(calls, "/facts", file=FILE)["cover"]["kind"] == "own"
    answer = calls.get("/api/lora-files/cover", params={"file": FILE})
    assert answer.headers["content-type"] == "image/webp"
    assert Image.open(io.BytesIO(answer.content)).size == (512, 341)
    lora_bytes.lora(workspace / FILE)
    picture(workspace / "loras/one.preview.png")
    assert get(calls, "/facts", file=FILE)["cover"]["path"] == "loras/one.preview.png"


def test_an_edit_is_previewed_written_and_taken_back(calls: TestClient, workspace: Path):
    path = workspace / FILE
    before, numbers = path.read_bytes(), weights(path)
    seen = get(calls, "/facts", file=FILE)["version"]
    wish = {"file": FILE, "seen": seen, "set": {"modelspec.title": "New", "mine": "ü<b>"}}
    wish["remove"] = ["note"]
    found = post(calls, "preview", **wish).json()
    assert {(row["key"], row["kind"]) for row in found["differences"]} == {
        ("modelspec.title", "changed"), ("mine", "added"), ("note", "removed"),
    }  # fmt: skip
    assert path.read_bytes() == before
    assert post(calls, "edit", **wish).status_code == 200
    expected = {**lora_bytes.METADATA, "modelspec.title": "New", "mine": "ü<b>"}
    del expected["note"]
    assert entries(path) == expected
    assert weights(path) == numbers
    stale = post(calls, "edit", **wish)
    assert stale.status_code == 422
    assert "changed since" in stale.json()["error"]
    assert get(calls, "/facts", file=FILE)["undo"]["entries"] == len(lora_bytes.METADATA)
    assert post(calls, "undo", file=FILE).status_code == 200
    assert entries(path) == lora_bytes.METADATA
    assert weights(path) == numbers
    assert post(calls, "undo", file=FILE).status_code == 422


def test_what_others_changed_is_not_taken_back(calls: TestClient, workspace: Path):
    assert post(calls, "edit", file=FILE, set={"a": "b"}).status_code == 200
    lora_bytes.lora(workspace / FILE, other="c")
    answer = post(calls, "undo", file=FILE)
    assert "another program" in answer.json()["error"]
    assert entries(workspace / FILE)["other"] == "c"


def test_names_with_signs_of_patterns_are_names(calls: TestClient, workspace: Path):
    lora_bytes.lora(workspace / FILE, **{"a*": "1", "ab": "2", "a=b": "3"})
    assert post(calls, "edit", file=FILE, remove=["a*"], set={"a=b": "4"}).status_code == 200
    assert "a*" not in entries(workspace / FILE)
    assert entries(workspace / FILE)["ab"] == "2"
    assert entries(workspace / FILE)["a=b"] == "4"


@pytest.mark.parametrize(("level", "kept"), [("minimal", 5), ("none", 0)])
def test_scrubbing_tells_what_remains(calls: TestClient, workspace: Path, level: str, kept: int):
    found = post(calls, "preview", file=FILE, scrub=level).json()
    assert len(found["kept"]) == kept == found["after"]
    copy = "loras/clean.safetensors"
    assert post(calls, "edit", file=FILE, scrub=level, out=copy).status_code == 200
    assert sorted(entries(workspace / copy)) == found["kept"]
    assert entries(workspace / FILE) == lora_bytes.METADATA
    assert "10_aa12" not in (workspace / copy).read_bytes().decode("latin-1")


@pytest.mark.parametrize(
    "body",
    [
        {"set": {"__metadata__": "x"}}, {"set": {" ": "x"}}, {"set": {"a\nb": "x"}},
        {"remove": ["not there"]}, {}, {"out": FILE}, {"out": "loras/a.txt"}, {"out": "../a.safetensors"},
        {"out": "@kept/a.safetensors"}, {"out": ".renma-studio/a.safetensors"}, {"more": 1},
        {"file": "@kept/deep/other.safetensors", "set": {"a": "b"}}, {"file": "../x", "set": {"a": "b"}},
        {"set": {"a": "x" * 200_001}},
    ],
)  # fmt: skip
def test_what_cannot_be_written_is_refused(
    calls: TestClient, workspace: Path, models: Path, body: dict[str, Any]
):
    before = {p: p.read_bytes() for r in (workspace / "loras", models) for p in r.rglob("*.s*")}
    answer = post(calls, "edit", **{"file": FILE, **body})
    assert answer.status_code in (403, 422), answer.text
    after = {p: p.read_bytes() for r in (workspace / "loras", models) for p in r.rglob("*.s*")}
    assert before == after


def test_tools_become_jobs_with_the_command_that_does_the_same(
    calls: TestClient, workspace: Path, models: Path
):
    lora_bytes.lora(workspace / "loras/a b.safetensors")
    files = [
        {"file": FILE, "weight": 0.7}, {"file": "loras/a b.safetensors", "weight": -0.25},
        {"file": "@kept/deep/other.safetensors"},
    ]  # fmt: skip
    wish = {"tool": "merge", "files": files, "options": {"out": "loras/sum.safetensors", "rank": 4}}
    command = post(calls, "plan", **wish).json()["command"]
    assert command.startswith(f"renma file merge {FILE}:0.7 'loras/a b.safetensors:-0.25' ")
    assert command.endswith("--out loras/sum.safetensors --rank 4")
    job = post(calls, "work", **wish)
    assert job.status_code == 200, job.text
    (kept,) = (workspace / ".renma-studio/jobs").glob("*/job.json")
    options = json.loads(kept.read_text())["options"]
    assert options["files"][2] == f"{models / 'deep/other.safetensors'}:1"
    assert options["out"] == str(workspace / "loras/sum.safetensors")
    (row,) = get(calls, "/jobs")
    assert (row["task"], row["about"], row["made"]) == ("file merge", "loras/sum.safetensors", None)


@pytest.mark.parametrize(
    "body",
    [
        {"tool": "resize", "options": {"file": FILE, "out": FILE, "rank": 2}},
        {"tool": "resize", "options": {"file": FILE, "out": "@kept/x.safetensors", "rank": 2}},
        {"tool": "resize", "options": {"file": FILE, "out": "x.safetensors"}},
        {"tool": "resize", "options": {"file": FILE, "out": "x.safetensors", "rank": 0}},
        {"tool": "resize", "options": {"file": "none.safetensors", "out": "x.safetensors", "rank": 2}},
        {"tool": "resize", "options": {"file": FILE, "out": "x.ckpt", "rank": 2}},
        {"tool": "merge", "options": {"out": "x.safetensors"}},
        {"tool": "merge", "files": [{"file": "../x"}], "options": {"out": "x.safetensors"}},
        {"tool": "merge", "files": [{"file": FILE}], "options": {"out": "x.safetensors", "base": "/etc"}},
        {"tool": "verify", "options": {"file": FILE, "model": "../x"}},
        {"tool": "merge", "files": [{"file": FILE}], "options": {"out": "x.safetensors", "base": "mame"}},
        {"tool": "merge", "files": [{"file": FILE}], "options": {"out": "x", "base": FILE}},
        {"tool": "merge", "files": [{"file": FILE}], "options": {"out": "@kept/x", "base": "mame"}},
        {"tool": "cut", "files": [{"file": FILE}], "options": {"file": FILE, "out": "x.safetensors", "rank": 1}},
        {"tool": "show", "options": {"file": FILE}}, {"tool": "verify", "options": {"file": FILE, "x": 1}},
    ],
)  # fmt: skip
def test_tools_that_cannot_work_are_refused_at_once(
    calls: TestClient, workspace: Path, body: dict[str, Any]
):
    answer = post(calls, "work", **body)
    assert answer.status_code in (403, 404, 422), answer.text
    assert str(workspace) not in answer.text
    assert calls.get("/api/jobs").json() == []


def test_a_file_of_the_wild_is_understood(calls: TestClient, workspace: Path, reference: Path):
    source = reference / "real-loras" / "sd-lora.safetensors"
    if not source.exists():
        pytest.skip("RENMA_REFERENCE holds no real-loras")
    (workspace / "wild.safetensors").write_bytes(source.read_bytes())
    found = get(calls, "/facts", file="wild.safetensors")
    assert found["algorithms"] == {"lora": 128}
    assert found["ranks"] == {"4": 128}
    assert found["base"]["guess"] == "SD 1.x"
    assert found["naming"] == "diffusers-old"


def test_the_header_says_what_reading_the_file_says(calls: TestClient, workspace: Path):
    """The page's own facts and `renma file show` agree, whatever the naming and algorithm."""
    code = f"""
import json, sys
from pathlib import Path
from renma.studio.api import lora_files
from renma.studio.place import Place
place = Place.made(Path({str(workspace)!r}))
found = lora_files.facts({FILE!r}, place)
lora_files.files(place, search="x"); lora_files.tags({FILE!r}, place)
assert "torch" not in sys.modules
from renma.use.file_facts import facts
told = facts(Path({str(workspace / FILE)!r}))
for name in ("algorithms", "ranks", "alphas", "precisions", "parameters", "naming"):
    assert found[name] == getattr(told, name), name
assert [b["block"] for b in found["blocks"]] == [b.block for b in told.blocks]
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=100)
