"""Folders of pictures through the interface: lists, edits, undo, and what is refused (C3)."""

from __future__ import annotations

import hashlib
import json
import string
import time
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from renma.studio.jobs.queue import Queue
from renma.studio.pictures import linted

CAPTIONS = {
    "a.png": "aa12, smile, red hat",
    "b.png": "aa12, long_hair, smile\n",
    "c.png": "aa12, frown",
    "in/d.png": "aa12,smile ,  blue sky",
}


@pytest.fixture
def pictures(workspace: Path) -> Path:
    """Five pictures, one of them in a folder inside and one without a caption."""
    folder = workspace / "mine" / "train"
    (folder / "in").mkdir(parents=True)
    (workspace / "mine" / "run.toml").write_text("", encoding="utf-8")
    for number, name in enumerate([*CAPTIONS, "z.png"]):
        Image.new("RGB", (40, 30), (number * 40, 0, 0)).save(folder / name)
    for name, text in CAPTIONS.items():
        (folder / name).with_suffix(".txt").write_text(text, encoding="utf-8")
    return folder


def held(folder: Path) -> dict[str, str]:
    """Returns the bytes of all files, by name; journals are no part of what is edited."""
    files = (p for p in folder.rglob("*") if p.is_file() and ".renma" not in p.parts)
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def edit(client: TestClient, change: dict[str, Any], **more: Any) -> Any:
    body = {"path": "mine", "change": change, **more}
    return client.post("/api/datasets/edit", json=body)


def test_a_project_is_listed_as_columns(client: TestClient, pictures: Path):
    found = client.get("/api/datasets/list", params={"path": "mine"}).json()
    assert found["path"] == "mine/train"
    assert found["names"] == ["a.png", "b.png", "c.png", "z.png", "in/d.png"]
    read = {
        name: None if row is None else [found["tags"][n] for n in row]
        for name, row in zip(found["names"], found["rows"], strict=True)
    }
    wanted = {name: [t.strip() for t in text.split(",")] for name, text in CAPTIONS.items()}
    assert read == {**wanted, "z.png": None}
    sizes = [(pictures / name).stat().st_size for name in found["names"]]
    assert found["bytes"] == sizes
    assert found["tags"][:2] == ["aa12", "smile"]  # the most frequent first
    assert found["undo"] is None


def test_folders_are_found_for_the_first_page(client: TestClient, pictures: Path):
    (pictures.parent / "runs" / "001" / "samples").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(pictures.parent / "runs" / "001" / "samples" / "x.png")
    rows = client.get("/api/datasets/folders").json()
    assert rows == [
        {"path": "mine/train", "pictures": 4},
        {"path": "mine/train/in", "pictures": 1},
    ]


def test_a_condition_is_answered_with_names_or_its_mistake(client: TestClient, pictures: Path):
    def ask(where: str) -> Any:
        return client.post("/api/datasets/filter", json={"path": "mine", "where": where})

    assert ask("smile and not red hat").json()["names"] == ["b.png", "in/d.png"]
    assert ask("not smile").json()["names"] == ["c.png", "z.png"]
    wrong = ask("smile and (").json()
    assert "column" in wrong["wrong"]
    assert wrong["names"] == []
    assert ask("smlie").json()["warnings"] == ["no caption has 'smlie'. Did you mean 'smile'?"]


def test_a_preview_writes_nothing_and_shows_what_changes(client: TestClient, pictures: Path):
    before = held(pictures)
    found = edit(client, {"replace": ["smile=grin"]}).json()
    assert found["count"] == 3
    assert found["first"][0] == {
        "name": "a.txt",
        "before": "aa12, smile, red hat",
        "after": "aa12, grin, red hat",
    }
    assert held(pictures) == before
    assert found["undo"] is None


def test_edit_undo_and_redo_are_byte_exact(client: TestClient, pictures: Path):
    before = held(pictures)
    change = {"add": ["new, aa12"], "at": "first", "remove": ["red*"], "underscores": "to-spaces"}
    names = ["a.png", "b.png", "z.png"]
    done = edit(client, change, names=names, write=True).json()
    assert done["count"] == 3
    assert done["bare"] == 1
    assert (pictures / "a.txt").read_text() == "new, aa12, smile"
    assert (pictures / "b.txt").read_text() == "new, aa12, long hair, smile\n"
    assert (pictures / "z.txt").read_text() == "new, aa12"
    assert (pictures / "c.txt").read_text() == CAPTIONS["c.png"]
    after = held(pictures)
    undone = client.post("/api/datasets/undo", json={"path": "mine"}).json()
    assert held(pictures) == before
    assert undone["count"] == 3
    assert undone["undo"] is None
    assert undone["redo"]["verb"] == "edit"
    client.post("/api/datasets/redo", json={"path": "mine"})
    assert held(pictures) == after


def test_redo_brings_back_what_was_undone_last(client: TestClient, pictures: Path):
    for tag in ("first", "second"):
        edit(client, {"append": [tag]}, names=["c.png"], write=True)
        client.post("/api/datasets/undo", json={"path": "mine"})
    client.post("/api/datasets/redo", json={"path": "mine"})
    assert (pictures / "c.txt").read_text() == "aa12, frown, second"


def test_an_edit_can_be_limited_by_a_condition(client: TestClient, pictures: Path):
    found = edit(client, {"sort": "alphabet"}, where="red hat or frown").json()
    assert found["chosen"] == 2
    assert [row["name"] for row in found["first"]] == ["a.txt"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, "nothing says what to change"),
        ({"search": ["("], "with": [""]}, "missing )"),
        ({"replace": ["x"]}, "is not old=new"),
        ({"search": ["a"]}, "--with 0 times"),
        ({"sort": "size"}, "sort"),
        ({"folder": "/etc"}, "folder"),
    ],
)
def test_what_is_no_edit_is_one_line(
    client: TestClient, pictures: Path, change: dict[str, Any], said: str
):
    answer = edit(client, change, write=True)
    assert answer.status_code == 422
    assert said in answer.json()["error"]
    preview = edit(client, change).json()  # while it is typed, that is an answer like any other
    assert said in (preview.get("wrong") or preview["error"])


def test_names_that_are_not_there_change_nothing(client: TestClient, pictures: Path):
    before = held(pictures)
    for name in ("x.png", "../train/a.png", "/etc/passwd", "in", "a.txt", "in/../a.png"):
        answer = edit(client, {"add": ["x"]}, names=["a.png", name], write=True)
        assert answer.status_code == 404, name
        one = {"path": "mine", "name": name, "was": None, "text": "x"}
        assert client.post("/api/datasets/caption", json=one).status_code in (404, 422), name
    assert held(pictures) == before


def test_one_caption_is_written_unless_somebody_else_was_there(client: TestClient, pictures: Path):
    where = {"path": "mine", "name": "b.png"}
    was = client.get("/api/datasets/caption", params=where).json()["text"]
    assert was == CAPTIONS["b.png"]
    answer = client.post("/api/datasets/caption", json={**where, "was": was, "text": "aa12\n"})
    assert answer.json()["count"] == 1
    assert (pictures / "b.txt").read_text() == "aa12\n"
    late = client.post("/api/datasets/caption", json={**where, "was": was, "text": "lost"})
    assert late.status_code == 422
    assert "meanwhile" in late.json()["error"]
    client.post("/api/datasets/undo", json={"path": "mine"})
    assert (pictures / "b.txt").read_text() == was


def test_a_caption_that_is_a_link_to_elsewhere_is_never_read(
    client: TestClient, pictures: Path, tmp_path: Path
):
    (tmp_path / "secret").write_text("marker-of-the-secret")
    (pictures / "z.txt").symlink_to(tmp_path / "secret")
    calls = [
        client.get("/api/datasets/list", params={"path": "mine"}),
        client.get("/api/datasets/caption", params={"path": "mine", "name": "z.png"}),
        client.post("/api/datasets/filter", json={"path": "mine", "where": "marker*"}),
        client.post("/api/datasets/maruzen", json={"path": "mine"}),
        edit(client, {"append": ["x"]}),
    ]
    for answer in calls:
        assert answer.status_code == 403
        assert "marker" not in answer.text.replace("marker*", "")
    (pictures / "z.txt").unlink()
    journals = tmp_path / "journals"
    journals.mkdir()
    (pictures / ".renma").symlink_to(journals)
    assert edit(client, {"append": ["x"]}, write=True).status_code == 403
    assert not any(journals.iterdir())


ODD = st.lists(
    st.sampled_from(
        ["..", ".", "mine", "train", "a.png", "/", "\\", "%2e%2e", "~", "C:", "con", "\0", "@m",
         "//host", "．．", ".renma-studio", "token", " ", "..\\", "etc", "passwd"]
    ),
    max_size=6,
).map("/".join) | st.text(string.printable + "é／‮", max_size=40)  # fmt: skip


@given(path=ODD, name=ODD)
@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_hostile_paths_and_names_touch_nothing(
    client: TestClient, pictures: Path, tmp_path: Path, path: str, name: str
):
    (tmp_path / "outside.txt").write_text("outside")
    before = held(tmp_path)
    where = {"path": path, "name": name}
    octets = {"content-type": "application/octet-stream"}
    calls = [
        client.get("/api/datasets/list", params={"path": path}),
        client.get("/api/datasets/folders", params={"path": path}),
        client.get("/api/datasets/caption", params=where),
        client.post("/api/datasets/caption", json={**where, "was": "-", "text": "x"}),
        client.post("/api/datasets/edit", json={"path": path, "names": [name], "change": {}}),
        client.post("/api/datasets/undo", json={"path": path}),
        client.post("/api/datasets/marks/mask", json={**where, "kind": "erase", "data": "eA=="}),
        client.post("/api/upload", params=where, content=b"no picture", headers=octets),
    ]
    assert all(answer.status_code < 500 for answer in calls)
    assert not any(row.get("text") == "outside" for row in map(_object, calls))
    assert held(tmp_path) == before


def _object(answer: Any) -> dict[str, Any]:
    found = answer.json()
    return found if isinstance(found, dict) else {}


def test_maruzen_proposes_and_takes_out_what_is_ticked(client: TestClient, pictures: Path):
    before = held(pictures)

    def ask(**more: Any) -> Any:
        return client.post(
            "/api/datasets/maruzen", json={"path": "mine", "trigger": "aa12", **more}
        )

    (found,) = ask().json()["sets"]
    rows = {row["tag"]: row["decision"] for row in found["tags"]}
    assert rows["aa12"] == "trigger"
    assert rows["smile"] == "keep"
    assert held(pictures) == before
    ask(remove=["smile"], write=True)
    assert (pictures / "a.txt").read_text() == "aa12, red hat"
    client.post("/api/datasets/undo", json={"path": "mine"})
    assert held(pictures) == before


def test_the_findings_of_a_job_are_read_from_what_it_printed(place: Any):
    queue = Queue(place.own / "jobs")
    rows = [
        {"code": "small", "picture": name, "text": "40x30", "others": [], "title": "Too small",
         "gravity": "bad", "remedy": "Leave it out."}
        for name in ("a.png", "b.png")
    ]  # fmt: skip
    job = queue.add("prepare lint", {}, "lint", "mine/train")
    printed = json.dumps({"pictures": 4, "findings": rows}, indent=2)
    job.log.write_text(f"warning: {{}}\n{printed}\nwarning: late\n", encoding="utf-8")
    assert linted.last(queue, "mine/train")["checks"] == []  # it is not over yet
    (job.folder / "ended.json").write_text('{"code": 0}')
    (check,) = linted.last(queue, "mine/train")["checks"]
    assert check["code"] == "small"
    assert [row["picture"] for row in check["rows"]] == ["a.png", "b.png"]
    assert linted.last(queue, "mine/other")["checks"] == []


@pytest.mark.parametrize("expression", ["(a+)+$", "(a|aa)+$"])
def test_an_expression_that_tries_everything_ends_in_a_line(
    client: TestClient, workspace: Path, expression: str
):
    """A preview and a condition answer within seconds; nothing is written."""
    (workspace / "one").mkdir()
    Image.new("RGB", (8, 8)).save(workspace / "one/a.png")
    caption = workspace / "one/a.txt"
    caption.write_text("a" * 40 + "!")
    change = {"search": [f"^{expression}"], "with": [""]}
    begun = time.monotonic()
    found = client.post("/api/datasets/edit", json={"path": "one", "change": change}).json()
    assert found["count"] == 0
    assert "takes too long" in found.get("wrong", "") or expression == "(a+)+$"
    found = client.post("/api/datasets/filter", json={"path": "one", "where": f"/^{expression}/"})
    assert found.json()["names"] == []
    assert "takes too long" in found.json()["wrong"] or expression == "(a+)+$"
    assert time.monotonic() - begun < 20
    assert caption.read_text() == "a" * 40 + "!"
