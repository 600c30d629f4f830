"""B1: archives that nobody vouches for - nothing is written elsewhere, nothing bursts."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import zipfile
from pathlib import Path

import pytest

from renma.core.errors import UserError
from renma.data.notes import Notes
from renma.prepare.archives import Limits, hostile, is_archive, unpack

LIMITS = Limits(files=100, size=64 * 2**20, ratio=100)
HOSTILE = (
    "../evil.png", "a/../../evil.png", "..\\evil.png", "a\\..\\..\\evil.png", "/etc/evil.png",
    "\\evil.png", "//host/share/evil.png", "\\\\host\\share\\evil.png", "C:\\evil.png", "c:evil.png",
    "C:/evil.png", "..", "a/..", "", ".", "./.", "a/../b.png",
)  # fmt: skip
HARMLESS = ("a.png", "a/b.png", "./a.png", "a..b.png", "..a.png", "...png", "a b/[c].png", "猫.png")


def anything(name: str) -> bool:
    return True


def everything(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*")}


def packed(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            info = zipfile.ZipInfo("x")
            info.filename = name  # as an attacker writes it, past ZipInfo's tidying
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, data)
    return path


def tarred(path: Path, members: list[tarfile.TarInfo], data: bytes = b"x", mode="w") -> Path:
    with tarfile.open(path, mode) as archive:
        for info in members:
            info.size = len(data) if info.isreg() else 0
            archive.addfile(info, io.BytesIO(data) if info.isreg() else None)
    return path


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_seen(name):
    assert hostile(name)


@pytest.mark.parametrize("name", HARMLESS)
def test_harmless_names_are_taken(name):
    assert hostile(name) == ""


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "tar.xz", "tar.bz2"])
def test_nothing_lands_outside(tmp_path: Path, kind):
    names = [name for name in HOSTILE if name.strip("./\\")]
    path = tmp_path / f"a.{kind}"
    if kind == "zip":
        packed(path, dict.fromkeys([*names, "good.png"], b"x"))
    else:
        mode = "w:" + kind.partition(".")[2]
        tarred(path, [tarfile.TarInfo(name) for name in [*names, "good.png"]], mode=mode)
    notes = Notes()
    into = tmp_path / "deep" / "er" / "into"
    found = unpack(path, into, LIMITS, anything, notes)
    assert [member.name for member in found] == ["good.png"]
    assert found[0].path.read_bytes() == b"x"
    there = {f"a.{kind}", "deep", "deep/er", "deep/er/into"}
    assert everything(tmp_path) == there | {f"deep/er/into/{found[0].path.name}"}
    said = "\n".join(notes.lines())
    for reason in ("leads out", "at the root", "with a drive"):
        assert reason in said


def test_links_and_devices_are_left_out(tmp_path: Path):
    secret = tmp_path / "secret.png"
    secret.write_bytes(b"secret")
    link, hard, fifo = (tarfile.TarInfo(f"{n}.png") for n in ("link", "hard", "fifo"))
    link.type, link.linkname = tarfile.SYMTYPE, str(secret)
    hard.type, hard.linkname = tarfile.LNKTYPE, "../secret.png"
    fifo.type = tarfile.FIFOTYPE
    path = tarred(tmp_path / "a.tar", [link, hard, fifo, tarfile.TarInfo("ok.png")])
    notes = Notes()
    assert [m.name for m in unpack(path, tmp_path / "i", LIMITS, anything, notes)] == ["ok.png"]
    assert sum("link" in line or "no file" in line for line in notes.lines()) == 2
    zipped = tmp_path / "b.zip"
    with zipfile.ZipFile(zipped, "w") as archive:
        info = zipfile.ZipInfo("link.png")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, str(secret))
    assert unpack(zipped, tmp_path / "j", LIMITS, anything, notes) == []


def test_a_link_made_by_an_archive_is_never_walked_through(tmp_path: Path):
    """The classic: a link to outside, then a file behind it."""
    outside = tmp_path / "outside"
    outside.mkdir()
    link = tarfile.TarInfo("d")
    link.type, link.linkname = tarfile.SYMTYPE, str(outside)
    path = tarred(tmp_path / "a.tar", [link, tarfile.TarInfo("d/evil.png")])
    unpack(path, tmp_path / "into", LIMITS, anything, Notes())
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("kind", ["zip", "tar.gz", "tar.xz", "tar.bz2"])
def test_bombs_by_ratio(tmp_path: Path, kind):
    zeros = bytes(40 * 2**20)
    path = tmp_path / f"a.{kind}"
    if kind == "zip":
        packed(path, {"a.bmp": zeros})
    else:
        mode = "w:" + kind.partition(".")[2]
        tarred(path, [tarfile.TarInfo("a.bmp")], zeros, mode)
    assert path.stat().st_size < 2**17
    with pytest.raises(UserError, match=r"grows more than 100 times"):
        unpack(path, tmp_path / "into", LIMITS, anything, Notes())
    assert not (tmp_path / "into").exists()


def test_bombs_by_size_count_and_lie(tmp_path: Path):
    noise = os.urandom(2**20)
    path = packed(tmp_path / "a.zip", {f"{i}.bmp": noise for i in range(4)})
    with pytest.raises(UserError, match="more than 3 MiB"):
        unpack(path, tmp_path / "into", Limits(100, 3 * 2**20, 100), anything, Notes())
    many = packed(tmp_path / "b.zip", {f"{i}.png": b"" for i in range(101)})
    with pytest.raises(UserError, match="more than 100 files"):
        unpack(many, tmp_path / "into", LIMITS, anything, Notes())
    # the directory claims one byte; what comes out is counted, not what is claimed
    data = bytearray(packed(tmp_path / "c.zip", {"a.bmp": bytes(2**20)}).read_bytes())
    place = data.rindex(b"PK\1\2") + 24
    data[place : place + 4] = (1).to_bytes(4, "little")
    (tmp_path / "c.zip").write_bytes(data)
    notes = Notes()
    assert unpack(tmp_path / "c.zip", tmp_path / "into", LIMITS, anything, notes) == []
    assert "cannot be unpacked" in notes.lines()[0]


def test_a_tar_header_without_end_is_stopped(tmp_path: Path):
    """A name record of 60 MiB of zeros is 60 KB as gzip."""
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 60 * 2**20
    path = tmp_path / "a.tar.gz"
    with gzip.open(path, "wb") as file:
        file.write(info.tobuf(tarfile.GNU_FORMAT))
        file.write(bytes(60 * 2**20))
    with pytest.raises(UserError, match="has no end"):
        unpack(path, tmp_path / "into", LIMITS, anything, Notes())


def test_what_is_not_wanted_is_not_written(tmp_path: Path):
    path = packed(tmp_path / "a.zip", {"a.png": b"1", "virus.exe": b"2"})
    found = unpack(path, tmp_path / "into", LIMITS, lambda name: name.endswith(".png"), Notes())
    assert [m.name for m in found] == ["a.png"]
    assert len(everything(tmp_path / "into")) == 1


def test_archives_inside_archives_are_not_opened(tmp_path: Path):
    inner = packed(tmp_path / "inner.zip", {"a.png": b"1"}).read_bytes()
    path = packed(tmp_path / "a.zip", {"inner.zip": inner, "x.tar.gz": b"", "b.png": b"2"})
    notes = Notes()
    found = unpack(path, tmp_path / "into", LIMITS, anything, notes)
    assert [m.name for m in found] == ["b.png"]
    assert "inner.zip" in notes.lines()[0]
    assert "x.tar.gz" in notes.lines()[0]


def test_encrypted_and_foreign_ones_say_so(tmp_path: Path):
    data = bytearray(packed(tmp_path / "a.zip", {"a.png": b"1"}).read_bytes())
    data[data.rindex(b"PK\1\2") + 8] |= 1
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(UserError, match="is encrypted"):
        unpack(tmp_path / "a.zip", tmp_path / "into", LIMITS, anything, Notes())
    (tmp_path / "b.7z").write_bytes(b"7z\xbc\xaf\x27\x1c")
    with pytest.raises(UserError, match="not opened here.*Unpack it"):
        unpack(tmp_path / "b.7z", tmp_path / "into", LIMITS, anything, Notes())
    assert is_archive(Path("X.TAR.GZ"))
    assert is_archive(Path("b.7z"))
    assert not is_archive(Path("zip.png"))


@pytest.mark.parametrize("kind", ["zip", "tar.gz", "tar"])
def test_broken_ones_are_the_users_mistake(tmp_path: Path, kind):
    path = tmp_path / f"a.{kind}"
    noise = os.urandom(200_000)
    if kind == "zip":
        packed(path, {"a.png": noise})
    else:
        tarred(path, [tarfile.TarInfo("a.png")], noise, "w:" + kind.partition(".")[2])
    path.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(UserError, match="broken archive"):
        unpack(path, tmp_path / "into", LIMITS, anything, Notes())
    path.write_bytes(b"<html>not found</html>" * 40)
    with pytest.raises(UserError, match="broken archive"):
        unpack(path, tmp_path / "into", LIMITS, anything, Notes())


def test_one_damaged_member_does_not_lose_the_others(tmp_path: Path):
    noise = os.urandom(5000)
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.png", noise)
        archive.writestr("b.png", b"fine")
    data = bytearray(path.read_bytes())
    data[2000] ^= 255
    path.write_bytes(data)
    notes = Notes()
    found = unpack(path, tmp_path / "into", LIMITS, anything, notes)
    assert [m.name for m in found] == ["b.png"]
    assert "a.png" in notes.lines()[0]


def test_names_of_japanese_windows(tmp_path: Path):
    """F25: Explorer writes cp932 without saying so; zipfile alone would read 'ìL.png'."""
    path = tmp_path / "a.zip"
    packed(path, {"XX.png": b"1"})
    raw = path.read_bytes().replace(b"XX.png", "猫".encode("cp932") + b".png")
    path.write_bytes(raw)
    (found,) = unpack(path, tmp_path / "into", LIMITS, anything, Notes())
    assert found.name == "猫.png"
