"""Pictures that arrive: made safe, never laid over others, bounded (uploads of C3)."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from renma.studio.pictures import received


def png(color: str = "red", size: tuple[int, int] = (20, 20)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, color).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def folder(workspace: Path) -> Path:
    where = workspace / "set"
    where.mkdir()
    (where / "a.png").write_bytes(png())
    (where / "a.txt").write_text("mine")
    return where


def send(client: TestClient, name: str, data: bytes, path: str = "set") -> Any:
    kind = {"content-type": "application/octet-stream"}
    return client.post(
        "/api/upload", params={"path": path, "name": name}, content=data, headers=kind
    )


def zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def test_a_picture_gets_a_name_that_is_free(client: TestClient, folder: Path):
    before = (folder / "a.png").read_bytes()
    assert send(client, "A.PNG", png("blue")).json()["kept"] == ["A-2.png"]
    assert send(client, "new.jpg", png("blue")).json()["kept"] == ["new.jpg"]
    assert (folder / "a.png").read_bytes() == before
    assert (folder / "new.jpg").read_bytes() == png("blue")


@given(name=st.text(max_size=60).map(lambda text: f"{text}.png"))
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_name_lands_in_the_folder_under_a_safe_one(
    client: TestClient, folder: Path, tmp_path: Path, name: str
):
    before = {p for p in tmp_path.rglob("*") if p.is_file()}
    answer = send(client, name, png())
    new = {p for p in tmp_path.rglob("*") if p.is_file()} - before
    assert answer.status_code in (200, 422)
    assert {p.parent for p in new} <= {folder}
    assert not any(p.name.startswith((".", "-")) or "\\" in p.name or ":" in p.name for p in new)
    assert len(new) == len(answer.json().get("kept", []))


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.svg", b"<svg onload=x>"),
        (".htaccess", b"x"),
        ("a.html", png()),
        ("b.png", b""),
        ("b.png", b"GIF89a"),
        ("b.png", png()[:60]),
        ("b.png", b"%!PS-Adobe EPS"),
        ("set.7z", b"7z"),
        ("b.txt", b"text"),
    ],
)
def test_what_is_no_picture_is_refused_with_a_line(
    client: TestClient, folder: Path, name: str, data: bytes
):
    answer = send(client, name, data).json()
    assert answer.get("error") or (answer["refused"] and not answer["kept"])
    assert sorted(p.name for p in folder.iterdir()) == ["a.png", "a.txt"]


def test_limits_hold(client: TestClient, folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(received, "MOST_BYTES", 1000)
    assert "MiB" in send(client, "b.png", b"x" * 2000).json()["error"]
    monkeypatch.setattr(received, "MOST_PIXELS", 300)
    assert send(client, "b.png", png()).json()["kept"] == []
    monkeypatch.undo()
    monkeypatch.setattr(received, "MOST", 1)
    assert "holds 1 pictures" in send(client, "b.png", png()).json()["refused"][0]
    assert sorted(p.name for p in folder.iterdir()) == ["a.png", "a.txt"]
    assert not any((folder.parent / ".renma-studio" / "uploads").iterdir())


def test_an_archive_gives_its_pictures_with_captions_and_no_more(
    client: TestClient, folder: Path, tmp_path: Path
):
    data = zipped(
        {
            "deep/a.png": png("green"),
            "deep/a.txt": b"one, two",
            "../../evil.png": png(),
            "/abs.png": png(),
            "C:/x.png": png(),
            "..\\win.png": png(),
            "index.html": b"<script>",
            "inner.zip": zipped({"b.png": png()}),
            "broken.png": b"no",
            "alone.txt": b"caption of nothing",
        }
    )
    found = send(client, "set.zip", data).json()
    assert found["kept"] == ["a-2.png"]
    assert len(found["refused"]) >= 3
    assert (folder / "a-2.txt").read_bytes() == b"one, two"
    assert (folder / "a.txt").read_text() == "mine"
    assert sorted(p.name for p in folder.iterdir()) == ["a-2.png", "a-2.txt", "a.png", "a.txt"]
    assert not list(tmp_path.rglob("*evil*"))
    assert not any((folder.parent / ".renma-studio" / "uploads").iterdir())


def test_a_bomb_and_a_link_leave_nothing(client: TestClient, folder: Path):
    bomb = zipped({"a.png": bytes(64 * 2**20)})
    assert len(bomb) < 2**18
    answer = send(client, "bomb.zip", bomb)
    assert answer.status_code == 422
    assert "grows more than" in answer.json()["error"]
    link = zipfile.ZipInfo("l.png")
    link.external_attr = 0xA1FF << 16
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(link, "/etc/passwd")
    assert "it is a link" in send(client, "link.zip", buffer.getvalue()).json()["refused"][0]
    assert sorted(p.name for p in folder.iterdir()) == ["a.png", "a.txt"]
