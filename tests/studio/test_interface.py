"""C3, the web half: the interface as OpenAPI describes it, and calls that nobody means."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings

from testbed.studio import SECRET


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
    (tmp_path / "beside" / "canary.png").write_bytes(b"canary")
    return tmp_path


def test_no_call_of_the_interface_ends_in_a_defect(
    client: TestClient, watched: Path, workspace: Path
):
    """schemathesis over the OpenAPI document: no 5xx, nothing read or written outside."""
    client.post("/api/projects", json={"name": "one", "sample": "character"})
    schema = schemathesis.openapi.from_dict(client.get("/openapi.json").json())
    before = everything(watched / "beside")

    seen = 0
    for result in schema.get_all_operations():
        operation = result.ok()
        if operation.path == "/api/runs/events":
            continue  # it never ends

        def ask(case: schemathesis.Case) -> None:
            nonlocal seen
            seen += 1
            answer = client.request(
                case.method,
                case.formatted_path,
                params=case.query or None,
                json=case.body if isinstance(case.body, dict | list | str | int) else None,
                headers={"content-type": "application/json"} if case.method == "POST" else {},
            )
            assert answer.status_code < 500, (case.method, case.formatted_path, answer.text)
            assert b"canary" not in answer.content
            assert SECRET.encode() not in answer.content

        given(operation.as_strategy())(
            settings(
                max_examples=12,
                deadline=None,
                database=None,
                derandomize=True,  # the same calls in every run
                suppress_health_check=list(HealthCheck),
            )(ask)
        )()
    assert seen > 100
    assert everything(watched / "beside") == before
    assert {p.name for p in watched.iterdir()} == {"beside", workspace.name}
