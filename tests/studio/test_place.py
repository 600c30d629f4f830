"""C3, the web half: no path from the web leaves the workspace (reliability.md, "web paths")."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from renma.core.errors import UserError
from renma.studio.place import OutsideError, Place

HOSTILE = (
    "..", "../x", "a/../../x", "a/..", "/etc/passwd", "//etc/passwd", "\\\\host\\share", "C:/x", "c:x",
    "..\\x", "a\\b", "~", "~root/x", "a\0b", "con", "CON.png", "aux", "a/nul", "lpt1.txt", "a ", "a.",
    "a/b./c", "file:///etc/passwd", "a\nb", "x" * 2000, ".renma-studio/token", ".Renma-Studio/token",
    "@nowhere/x", "a:stream",
)  # fmt: skip


@pytest.fixture
def filled(workspace: Path, tmp_path: Path) -> Path:
    """A workspace with a secret beside it, a folder whose name begins alike, and links out."""
    (tmp_path / "secret.png").write_bytes(b"secret")
    (tmp_path / "work_evil").mkdir()
    (tmp_path / "work_evil" / "secret.png").write_bytes(b"secret")
    (workspace / "train").mkdir()
    (workspace / "train" / "link.png").symlink_to(tmp_path / "secret.png")
    (workspace / "out").symlink_to(tmp_path)
    (workspace / "train" / "inner.txt").write_text("ours")
    (workspace / "alias").symlink_to(workspace / "train")
    return workspace


@pytest.mark.parametrize("text", HOSTILE)
def test_no_form_of_a_path_leads_out(filled: Path, text: str):
    with pytest.raises(OutsideError):
        Place.made(filled).inside(text)


@pytest.mark.parametrize(
    "text", ["train/link.png", "out/secret.png", "out", "out/work_evil/secret.png"]
)
def test_no_link_leads_out(filled: Path, text: str):
    with pytest.raises(OutsideError):
        Place.made(filled).inside(text)


def test_what_is_inside_is_found(filled: Path):
    place = Place.made(filled)
    assert place.inside("train/inner.txt").read_text() == "ours"
    assert place.inside("alias/inner.txt").read_text() == "ours"
    assert place.inside("") == place.root
    assert place.inside("./train//inner.txt") == filled / "train" / "inner.txt"
    assert place.shown(filled / "train" / "inner.txt") == "train/inner.txt"


def test_folders_of_models_are_only_read(filled: Path, tmp_path: Path):
    models = tmp_path / "models"
    models.mkdir()
    (models / "sd15.safetensors").write_bytes(b"x")
    place = Place.made(filled, [models])
    assert place.inside("@models/sd15.safetensors").read_bytes() == b"x"
    with pytest.raises(OutsideError):
        place.inside("@models/../secret.png")
    with pytest.raises(OutsideError):
        place.inside("@models/new", write=True)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.sampled_from(
            [
                "..",
                ".",
                "train",
                "out",
                "%2e%2e",
                "\uff0e\uff0e",
                "..;",
                "etc",
                "",
                "\u2025",
                "alias",
            ]
        )
        | st.text(max_size=6),
        max_size=6,
    )
)
def test_whatever_is_accepted_lies_inside(filled: Path, parts: list[str]):
    place = Place.made(filled)
    try:
        found = place.inside("/".join(parts))
    except UserError:
        return
    real = os.path.realpath(found)
    assert real == str(filled) or real.startswith(f"{filled}{os.sep}")


@pytest.mark.parametrize(
    "raw",
    [
        "..%2fsecret.png", "%2e%2e/secret.png", "..%5csecret.png", "%252e%252e%252fsecret.png", "%2fetc%2fpasswd",
        "train%2flink.png", "out%2fsecret.png", "..%c0%afsecret.png", "..%ef%bc%8fsecret.png", "secret.png%00.png",
    ],
)  # fmt: skip
@pytest.mark.parametrize("call", ["picture", "thumb", "download", "list"])
def test_no_call_reads_outside(filled: Path, client: TestClient, raw: str, call: str):
    answer = client.get(f"/api/files/{call}?path={raw}")
    assert answer.status_code in (403, 404, 422)
    assert b"secret" not in answer.content.replace(raw.encode(), b"").replace(b"secret.png", b"")


@pytest.mark.parametrize(
    "raw",
    ["/static/../app.py", "/static/..%2fapp.py", "/static/%2e%2e/app.py", "/..%2f..%2fetc/passwd"],
)
def test_no_static_path_reads_outside(client: TestClient, raw: str):
    answer = client.get(raw)
    assert answer.status_code in (403, 404)
    assert b"import" not in answer.content
