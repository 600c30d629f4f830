"""C3, the web half: the interface as OpenAPI describes it, and calls that nobody means."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings

from testbed import lora_bytes
from testbed.studio import SECRET
from testbed.studio_run import made_run


def test_the_studio_never_loads_torch():
    code = (
        "import sys; from pathlib import Path; from renma.studio.app import application; "
        "from renma.studio.place import Place; from renma.studio.token import Token; import tempfile; "
        "from fastapi.testclient import TestClient; "
        "c = TestClient(application(Place.made(Path(tempfile.mkdtemp())), Token('x' * 32)), "
        "base_url='http://127.0.0.1', headers={'authorization': 'Bearer ' + 'x' * 32}); "
        "c.post('/api/projects', json={'name': 'a', 'sample': 'character'}); c.get('/api/settings/options'); "
        "[c.get('/' + p) for p in ('', 'new', 'run', 'queue', 'compare', 'tools', 'data')]; "
        "print([m for m in ('torch', 'diffusers', 'transformers') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_it_is_described(client: TestClient):
    assert client.get("/api/health").json()["status"] == "ok"
    told = client.get("/openapi.json").json()
    assert told["openapi"].startswith("3.")
    for path, calls in told["paths"].items():
        for call in calls.values():
            assert call.get("description"), path


def everything(root: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


@pytest.fixture
def watched(tmp_path: Path) -> Path:
    """What lies beside the workspace."""
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside" / "canary.png").write_bytes(OUTSIDE)
    return tmp_path


RUN, LORA, FOLDER = "one/runs/001", "one/runs/001/lora/aa12.safetensors", "one/train/10_aa12 person"
COMMON: dict[str, Any] = {
    "project": "one", "run": RUN, "file": LORA, "lora": LORA, "folder": FOLDER, "names": ["00.png"],
    "paths": [RUN], "task": "caption count", "options": {"folder": FOLDER}, "values": {}, "side": 64,
    "text": "a, b", "what": "stop", "offset": 0, "extension": ".txt", "separator": ",", "key": "note",
    "recipe": "leco", "force": True, "data": None, "box": None, "parts": [{"lora": LORA, "prompt": "a"}], "before": None,
}  # fmt: skip
"""What is there, by the name of what a call is told."""
SCENES: list[dict[str, Any]] = [
    {"path": FOLDER, "name": "00.png"},
    {"path": RUN, "name": "report", "recipe": "copier"},
    {"path": f"{FOLDER}/00.png", "name": "00001"},
    {"path": "one", "name": "00002", "text": ""},
    {"path": "one/run.toml", "options": {"file": LORA}, "text": "unet_lr = 0.0001"},
]
"""What belongs together, besides."""
HOSTILE = ["../beside", "link", "link/canary.png", "/etc/passwd", "../beside/canary.png", 7, None]
OUTSIDE = b"what lies outside of the workspace"
SOME = 0.8
"""Share of the calls that are answered at least once; others need a model, a mask, a training."""


@pytest.fixture
def inhabited(client: TestClient, watched: Path, workspace: Path) -> TestClient:
    """A project with a run, a LoRA, a report, a job, and a link to outside."""
    client.post("/api/projects", json={"name": "one", "sample": "character"})
    made_run(workspace / RUN)
    (workspace / RUN / "report.html").write_text("<p>all is well</p>")
    lora_bytes.lora(workspace / LORA)
    (workspace / "link").symlink_to(watched / "beside")
    job = {"task": "caption count", "options": {"folder": FOLDER}}
    client.post("/api/jobs", json=job)
    return client


def told_what_is_there(case: schemathesis.Case, scene: dict[str, Any], rng: random.Random) -> None:
    """Replaces a case's values by what exists, and here and there by what must not be reached."""
    body = case.body if isinstance(case.body, dict) else {}
    there = COMMON | scene
    for values in (case.query, case.path_parameters, body):
        for name in sorted((values or {}).keys() & there.keys()):
            values[name] = rng.choice(HOSTILE) if rng.random() < 0.15 else there[name]


def sent(client: TestClient, case: schemathesis.Case) -> Any:
    upload = case.formatted_path == "/api/upload"
    kind = "application/octet-stream" if upload else "application/json"
    plain = case.body if isinstance(case.body, dict | list | str | int) else None
    return client.request(
        case.method,
        case.formatted_path,
        params=case.query or None,
        headers={"content-type": kind} if case.method == "POST" else {},
        **({"content": b"\x89PNG not a picture"} if upload else {"json": plain}),
    )


def test_no_call_of_the_interface_ends_in_a_defect(
    inhabited: TestClient, watched: Path, workspace: Path
):
    """schemathesis over the OpenAPI document: no 5xx, nothing read or written outside."""
    client, rng = inhabited, random.Random(1)
    schema = schemathesis.openapi.from_dict(client.get("/openapi.json").json())
    before, reached = everything(watched / "beside"), dict[str, bool]()
    for result in schema.get_all_operations():
        operation = result.ok()
        if operation.path == "/api/runs/events":
            continue  # it never ends
        reached[f"{operation.method.upper()} {operation.path}"] = False

        def ask(case: schemathesis.Case) -> None:
            for scene in (None, *SCENES):
                if scene is not None:
                    told_what_is_there(case, scene, rng)
                answer = sent(client, case)
                assert answer.status_code < 500, (case.path, case.body, case.query, answer.text)
                assert OUTSIDE not in answer.content, (case.path, case.body, case.query)
                assert SECRET.encode() not in answer.content
                if answer.is_error:
                    assert str(workspace) not in answer.text
                reached[f"{case.method.upper()} {case.path}"] |= answer.status_code < 300

        given(operation.as_strategy())(
            settings(
                max_examples=5,
                deadline=None,
                database=None,
                derandomize=True,  # the same calls in every run
                suppress_health_check=list(HealthCheck),
            )(ask)
        )()
    assert len(reached) > 60
    never = [label for label, answered in reached.items() if not answered]
    assert len(never) < (1 - SOME) * len(reached), never
    assert everything(watched / "beside") == before
    assert {p.name for p in watched.iterdir()} == {"beside", workspace.name}
