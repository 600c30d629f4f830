"""Archives and pictures that mean harm, as the studio takes them (reliability.md, "uploads").

Nothing of them may end in a defect (5xx), or be written anywhere but as told.
"""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from testbed import lora_bytes


def zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def crowded(count: int) -> bytes:
    """Returns an archive of empty pictures, written by hand: zipfile takes its time for them."""
    local, central = [], []
    for i in range(count):
        name = b"%06d.png" % i
        place = i * (30 + len(name))
        local.append(struct.pack("<4s5H3I2H", b"PK\3\4", 20, 0, 0, 0, 33, 0, 0, 0, len(name), 0))
        local.append(name)
        row = (b"PK\1\2", 20, 20, 0, 0, 0, 33, 0, 0, 0, len(name), 0, 0, 0, 0, 0, place)
        central += [struct.pack("<4s6H3I5H2I", *row), name]
    body, table = b"".join(local), b"".join(central)
    big = struct.pack(
        "<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, len(table), len(body)
    )
    where = struct.pack("<4sIQI", b"PK\6\7", 0, len(body) + len(table), 1)
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return body + table + big + where + end


def encrypted() -> bytes:
    """Returns an archive that says of its member that it is encrypted."""
    data = bytearray(zipped({"a.png": png()}))
    data[6] |= 1
    place = data.rindex(b"PK\x01\x02")
    data[place + 8] |= 1
    return bytes(data)


def png(size: int = 20) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (size, size), "red").save(buffer, "PNG")
    return buffer.getvalue()


def linked() -> bytes:
    buffer = io.BytesIO()
    link = zipfile.ZipInfo("l.png")
    link.external_attr = 0xA1FF << 16
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(link, "/etc/passwd")
    return buffer.getvalue()


UPLOADS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "names that lead out": ("a.zip", lambda: zipped({"../evil.png": png(), "/abs.png": png(), "a/../../b.png": png(), "..\\win.png": png(), "C:/x.png": png()})),
    "a bomb of 1:1028": ("a.zip", lambda: zipped({"a.png": bytes(2**26)})),
    "200,000 entries": ("a.zip", lambda: crowded(200_000)),
    "an archive in an archive": ("a.zip", lambda: zipped({"a.zip": zipped({"a.png": png()})})),
    "a link": ("a.zip", linked),
    "an encrypted one": ("a.zip", encrypted),
    "a picture that is a folder": ("a.zip", lambda: zipped({"a.png/": b""})),
    "settings of a web server": ("a.zip", lambda: zipped({".htaccess": b"x"})),
    "settings alone": (".htaccess", lambda: b"x"),
    "nothing in it": ("a.png", lambda: b""),
    "no archive": ("a.zip", lambda: b"PK\3\4 nothing"),
    "an archive cut off": ("a.zip", lambda: zipped({"a.png": png()})[:-10]),
    "a pickle": ("a.ckpt", lambda: pickle.dumps([1])),
    "a LoRA": ("a.safetensors", lambda: lora_bytes.described(lora_bytes.shapes())),
    "a web page": ("a.html", lambda: b"<script>"),
    "SVG called PNG": ("a.png", lambda: b"<svg xmlns='http://www.w3.org/2000/svg' onload='x()'/>"),
    "EPS called PNG": ("a.png", lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n"),
}  # fmt: skip


@pytest.mark.parametrize("name", UPLOADS)
def test_uploads_that_mean_harm_leave_the_folder_as_it_was(
    client: TestClient, workspace: Path, tmp_path: Path, name: str
):
    """The group "uploads": refusals are listed, the folder is the same byte for byte."""
    (workspace / "set").mkdir()
    (workspace / "set" / "mine.png").write_bytes(png())
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    sent, data = UPLOADS[name]
    kind = {"content-type": "application/octet-stream"}
    given = {"path": "set", "name": sent}
    answer = client.post("/api/upload", params=given, content=data(), headers=kind)
    assert answer.status_code in (200, 422), answer.text
    told = answer.json()
    assert told.get("error") or (told["kept"] == [] and told["refused"]), told
    assert str(workspace) not in answer.text
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_pictures_of_one_name_do_not_lie_over_each_other(client: TestClient, workspace: Path):
    """Two members of one name, and one that differs in capitals only."""
    (workspace / "set").mkdir()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.png", png(20))
        archive.writestr("A.PNG", png(28))
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("a.png", png(24))
    kind = {"content-type": "application/octet-stream"}
    given = {"path": "set", "name": "a.zip"}
    told = client.post("/api/upload", params=given, content=buffer.getvalue(), headers=kind).json()
    names = {p.name.casefold() for p in (workspace / "set").iterdir()}
    assert len(told["kept"]) == len(names) == len(list((workspace / "set").iterdir()))
    assert len(told["kept"]) + len(told["refused"]) == 3
