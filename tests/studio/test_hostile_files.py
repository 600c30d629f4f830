"""LoRA files that mean harm, as pages show them (reliability.md, "metadata view" and "pickles").

Nothing of them may end in a defect (5xx), be run, or hang a call.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from testbed import lora_bytes

FILE = "hostile.safetensors"
SCRIPT = "<script>document.title='run'</script><img src=x onerror=\"document.title='run'\">"
RTL = "\u202egnp.exe\u200b"
_PATIENCE = 6.0
"""Seconds that a call may take on a slow machine."""


class Canary:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


def one(**metadata: Any) -> bytes:
    """Returns a right LoRA with odd metadata."""
    return lora_bytes.described(lora_bytes.shapes(), {**lora_bytes.METADATA, **metadata})


def header(text: str) -> bytes:
    return lora_bytes.raw(text.encode("utf-8", "surrogatepass"))


def tensor(name: str = "lora_unet_x.alpha", **row: Any) -> bytes:
    whole = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4], **row}
    return lora_bytes.raw(json.dumps({name: whole}).encode(), b"\0" * 4)


REFUSED: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "three bytes": lambda: b"abc",
    "a length of 2^63": lambda: struct.pack("<Q", 2**63) + b"{}",
    "a length beyond the end": lambda: struct.pack("<Q", 5000) + b"{}",
    "a length of 0": lambda: struct.pack("<Q", 0) + b"{}",
    "a header of 101 MB": lambda: lora_bytes.raw(b" " * 101_000_000),
    "100 MB of tags": lambda: one(ss_tag_frequency='{"a": {"' + "t" * 100_000_000 + '": 1}}'),
    "no JSON": lambda: header("{nothing"),
    "a list": lambda: header("[1, 2]"),
    "a number": lambda: header("7e5"),
    "100,000 lists in each other": lambda: header("[" * 100_000),
    "100,000 tables in each other": lambda: header('{"a":' * 100_000 + "1" + "}" * 100_000),
    "not UTF-8": lambda: lora_bytes.raw(b'{"__metadata__": {"a": "\xff\xfe"}}'),
    "metadata of numbers": lambda: header('{"__metadata__": {"a": 1}}'),
    "metadata of tables": lambda: header('{"__metadata__": {"a": {"b": "c"}}}'),
    "metadata that is a list": lambda: header('{"__metadata__": ["a"]}'),
    "a key twice": lambda: header('{"__metadata__": {"a": "1", "a": "2"}}'),
    "a number of 10,000 digits": lambda: header('{"a": ' + "9" * 10_000 + "}"),
    "a negative shape": lambda: tensor(shape=[-1]),
    "an infinite shape": lambda: header('{"a": {"dtype": "F32", "shape": [1e999], "data_offsets": [0, 4]}}'),
    "a shape of 2^80": lambda: tensor(shape=[2**80]),
    "an offset beyond the end": lambda: tensor(data_offsets=[4, 8]),
    "an unknown type": lambda: tensor(dtype="C64"),
    "a name with a line feed": lambda: tensor("lora_unet_x\n.alpha"),
    "a name of 64 KB": lambda: tensor("a" * 65_536),
    "a name that is half a character": lambda: lora_bytes.raw(b'{"\\ud800": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}', b"\0" * 4),
    "numbers cut off": lambda: one()[:-40],
    "numbers too many": lambda: one() + b"\0",
    "60,000 tensors of no size": lambda: lora_bytes.described({f"a{i}": [0] for i in range(60_000)}),
    "a zip": lambda: zipped({"lora.safetensors": one()}),
    "a web page": lambda: b"<!doctype html><script>alert(1)</script>" * 10,
}  # fmt: skip

SHOWN: dict[str, Callable[[], bytes]] = {
    "script in a value": lambda: one(note=SCRIPT),
    "script in a key": lambda: one(**{SCRIPT: "a"}),
    "script in a trigger": lambda: one(**{"modelspec.trigger_phrase": SCRIPT}),
    "script in a title": lambda: one(**{"modelspec.title": SCRIPT}),
    "script in a tensor's name": lambda: tensor(f"lora_unet_{SCRIPT}"),
    "script in a tag": lambda: one(ss_tag_frequency=json.dumps({SCRIPT: {SCRIPT: 3}})),
    "a link that runs": lambda: one(note="javascript:alert(1)", ss_sd_model_name="javascript:alert(1)"),
    "text turned around": lambda: one(note=RTL, **{RTL: RTL, "modelspec.title": RTL}),
    "half a character": lambda: one(note="\ud800", **{"\udfff": "\ud800 a", "ss_sd_model_name": "\ud800"}),
    "controls": lambda: one(note="\0\x1b[31m\x07", **{"a\0b": "c"}),
    "a value of 20 MB": lambda: one(note="x" * 20_000_000),
    "20,000 entries": lambda: one(**{f"k{i}": str(i) for i in range(20_000)}),
    "a JSON bomb": lambda: one(ss_tag_frequency="[" * 1_000_000, ss_dataset_dirs='{"a":' * 100_000),
    "tags that are no JSON": lambda: one(ss_tag_frequency="{nothing"),
    "tags in a list": lambda: one(ss_tag_frequency='["a", 1]', ss_dataset_dirs="[1]"),
    "tags that are numbers": lambda: one(ss_tag_frequency="7"),
    "counts that are none": lambda: one(ss_tag_frequency='{"a": {"b": NaN, "c": -Infinity, "d": "x", "e": true, "f": 1e400, "g": [], "h": -1}}'),
    "counts too large": lambda: one(ss_tag_frequency='{"a": {"b": 1' + "0" * 4000 + "}}"),
    "300,000 tags": lambda: one(ss_tag_frequency=json.dumps({"a": {f"t{i}": 1 for i in range(300_000)}})),
    "folders of nonsense": lambda: one(ss_dataset_dirs='{"a": 1, "b": {"img_count": {"c": []}}}'),
    "a picture that is none": lambda: one(**{"modelspec.thumbnail": "data:image/png;base64,AAAA"}),
    "a picture that is SVG": lambda: one(**{"modelspec.thumbnail": "data:image/svg+xml;base64,PHN2Zz4="}),
    "a picture that is no base64": lambda: one(**{"modelspec.thumbnail": "data:image/png;base64,<>"}),
    "a picture bomb": lambda: one(**{"modelspec.thumbnail": "data:image/png;base64," + bomb()}),
    "times of nonsense": lambda: one(ss_training_started_at="1e400", ss_training_finished_at="nan"),
    "names that lead out": lambda: tensor("../../../etc/passwd"),
    "alpha NaN": lambda: lora_bytes.raw(json.dumps({"lora_unet_x.alpha": {"dtype": "F32", "shape": [], "data_offsets": [0, 4]}}).encode(), struct.pack("<f", float("nan"))),
    "rank 0": lambda: lora_bytes.described({"lora_unet_x.lora_down.weight": [0, 4], "lora_unet_x.lora_up.weight": [4, 0]}),
    "blocks that are no numbers": lambda: lora_bytes.described({"lora_unet_input_blocks_attn1_to_q.lora_down.weight": [1, 1], "lora_unet_middle_block.lora_up.weight": [1, 1], "lora_unet_output_blocks_9_99999999999999999999_op.alpha": []}),
    "factors without axes": lambda: lora_bytes.described({"lora_unet_x.lora_down.weight": [], "lora_unet_x.lora_up.weight": [1]}),
    "no tensors at all": lambda: header("{}"),
}  # fmt: skip


def bomb() -> str:
    """Returns a small picture of 144 million pixels."""
    import base64

    buffer = io.BytesIO()
    Image.new("1", (12_000, 12_000)).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def shown(answer: Any) -> str:
    """Returns all text that a page shows; raw ones are for asking and editing."""
    rows = answer.get("entries") if isinstance(answer, dict) else None
    for row in rows if isinstance(rows, list) else ():
        row.pop("key", None)
    if isinstance(answer, dict):
        answer.pop("raw", None)
    return json.dumps(answer, ensure_ascii=False)


def calls(client: TestClient, file: str) -> dict[str, Any]:
    """Asks everything that the page asks about a file; returns the answers by call."""
    asked = {"facts": {}, "hashes": {}, "tags": {}, "metadata": {}, "cover": {}, "strength": {}}
    asked |= {"entry": {"key": "note"}, "": {"search": "script"}}
    found = {}
    for what, more in asked.items():
        begun = time.monotonic()
        answer = client.get(f"/api/lora-files/{what}".rstrip("/"), params={"file": file, **more})
        assert time.monotonic() - begun < _PATIENCE, what
        found[what] = answer
    body = {"file": file, "scrub": "minimal"}
    found["preview"] = client.post("/api/lora-files/preview", json=body)
    found["picked"] = client.get("/api/files/list")
    for what, answer in found.items():
        assert answer.status_code < 500, (what, answer.text)
        assert len(answer.content) < 4_000_000, what
        kind = answer.headers["content-type"]
        assert kind in ("application/json", "image/webp"), what
        assert answer.headers["x-content-type-options"] == "nosniff"
        if kind == "application/json":
            assert not {"\u202e", "\u200b", "\x1b", "\0"} & set(shown(answer.json())), what
    return found


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_safetensors_file_is_refused_with_a_line(
    client: TestClient, workspace: Path, name: str
):
    (workspace / FILE).write_bytes(REFUSED[name]())
    found = calls(client, FILE)
    for what in ("facts", "hashes", "tags", "metadata", "entry", "cover", "preview"):
        assert found[what].status_code == 422, what
        assert str(workspace) not in found[what].text
    (row,) = client.get("/api/lora-files").json()["files"]
    assert row["kind"] == "broken"
    assert row["error"]
    work = {"tool": "verify", "options": {"file": "../" + FILE}}
    assert client.post("/api/lora-files/work", json=work).status_code == 403


@pytest.mark.parametrize("name", SHOWN)
def test_what_a_file_says_is_text(client: TestClient, workspace: Path, name: str):
    (workspace / FILE).write_bytes(SHOWN[name]())
    before = (workspace / FILE).read_bytes()
    found = calls(client, FILE)
    for what in ("facts", "tags", "metadata", "hashes"):
        assert found[what].status_code == 200, (what, found[what].text)
    assert (workspace / FILE).read_bytes() == before


def test_half_a_character_can_be_scrubbed_away(client: TestClient, workspace: Path):
    """Such a file is refused by the safetensors library; without the entry it is read again."""
    from safetensors import SafetensorError, safe_open

    path = workspace / FILE
    path.write_bytes(SHOWN["half a character"]())
    with pytest.raises(SafetensorError):
        safe_open(path, "np")
    names = [row["name"] for row in calls(client, FILE)["facts"].json()["trouble"]]
    assert "not_text" in names
    # leaving another entry out keeps what cannot be said otherwise as it was
    body: dict[str, Any] = {"file": FILE, "remove": ["modelspec.title"]}
    assert client.post("/api/lora-files/edit", json=body).status_code == 200
    body = {"file": FILE, "scrub": "minimal"}
    assert client.post("/api/lora-files/edit", json=body).status_code == 200
    with safe_open(path, "np") as file:
        assert len(list(file.keys())) == 9


@pytest.mark.parametrize("text", ["\\ud800", "\\udfff\\ud800"])
def test_half_a_character_is_not_taken_from_a_page(client: TestClient, workspace: Path, text: str):
    lora_bytes.lora(workspace / FILE)
    before = (workspace / FILE).read_bytes()
    kind = {"content-type": "application/json"}
    for body in (
        f'{{"file": "{FILE}", "set": {{"a": "{text}"}}}}',
        f'{{"file": "{FILE}", "set": {{"{text}": "a"}}}}',
        f'{{"file": "{FILE}", "remove": ["{text}"]}}',
        f'{{"file": "{text}", "set": {{"a": "b"}}}}',
        f'{{"file": "{FILE}", "set": {{"a": "b"}}, "out": "{text}.safetensors"}}',
    ):
        answer = client.post("/api/lora-files/edit", content=body, headers=kind)
        assert 400 <= answer.status_code < 500, body
    assert (workspace / FILE).read_bytes() == before


@pytest.mark.parametrize("ending", [".safetensors", ".ckpt", ".pt", ".bin", ".pth"])
def test_pickles_are_never_loaded(client: TestClient, workspace: Path, tmp_path: Path, ending: str):
    canary = tmp_path / "canary"
    data = pickle.dumps(Canary(canary))
    pickle.loads(data)  # the bait works
    canary.unlink()
    for content in (data, zipped({"archive/data.pkl": data}), b"7z\xbc\xaf\x27\x1c" + data):
        (workspace / f"bad{ending}").write_bytes(content)
        found = calls(client, f"bad{ending}")
        assert found["facts"].status_code == 422
        assert not canary.exists()


def test_links_and_what_is_no_file_are_passed_over(
    client: TestClient, workspace: Path, tmp_path: Path
):
    lora_bytes.lora(tmp_path / "secret.safetensors", note="secret")
    (workspace / "link.safetensors").symlink_to(tmp_path / "secret.safetensors")
    (workspace / "out").symlink_to(tmp_path)
    (workspace / "zero.safetensors").symlink_to("/dev/zero")
    (workspace / "loop.safetensors").symlink_to("loop.safetensors")
    (workspace / "folder.safetensors").mkdir()
    os.mkfifo(workspace / "pipe.safetensors")
    assert client.get("/api/lora-files").json()["files"] == []
    names = ("link", "out/secret", "zero", "loop", "folder", "pipe")
    for name in names:
        found = calls(client, f"{name}.safetensors")
        assert found["facts"].status_code in (403, 404, 422), name
        assert "secret" not in found["metadata"].text.replace("out/secret", "")


ODD_NAMES = (
    b"\xff\xfe.safetensors", b"a\nb.safetensors", b"a\\b.safetensors", b"con.safetensors",
    b"a:b.safetensors", "\u202egnp.safetensors".encode(), b"<img src=x onerror=alert(1)>.safetensors",
    b"'; rm -rf ~;.safetensors", "猫 🐈.safetensors".encode(), b"--help.safetensors", b"$(id).safetensors",
    b" .safetensors", b".hidden.safetensors", b"%2e%2e.safetensors", b"a&file=b#c?d.safetensors",
)  # fmt: skip


def test_names_of_any_signs_are_listed_or_passed_over(client: TestClient, workspace: Path):
    for name in ODD_NAMES:
        path = Path(os.fsdecode(os.fsencode(workspace) + b"/" + name))
        path.write_bytes(one())
    rows = client.get("/api/lora-files").json()["files"]
    names = {row["file"] for row in rows}
    assert {"猫 🐈.safetensors", "<img src=x onerror=alert(1)>.safetensors"} <= names
    assert not any(set(name) & {"\n", "\\"} for name in names)
    for name in names:
        answer = client.get("/api/lora-files/facts", params={"file": name})
        assert answer.status_code == 200, name
    assert client.get("/api/files/list").status_code == 200


@given(
    key=st.text(min_size=1, max_size=40),
    value=st.text(max_size=300),
    name=st.text(min_size=1, max_size=60),
)
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_text_anywhere_is_shown(
    client: TestClient, workspace: Path, key: str, value: str, name: str
):
    rows = {**lora_bytes.shapes(), f"lora_unet_{name}.lora_down.weight": [1, 1]}
    more = {"ss_tag_frequency": json.dumps({key: {value: 3}}), "modelspec.trigger_phrase": value}
    metadata = {**more, "ss_sd_model_name": value, "ss_dataset_dirs": value, key: value}
    (workspace / FILE).write_bytes(lora_bytes.described(rows, metadata))
    calls(client, FILE)
