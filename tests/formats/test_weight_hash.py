"""Hashes of weight files are remembered, and forgotten when the file changes."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from renma.formats import weight_hash


def settled(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    long_ago = path.stat().st_mtime - 60
    os.utime(path, (long_ago, long_ago))
    return path


def test_a_hash_is_computed_once(tmp_path: Path, monkeypatch):
    path = settled(tmp_path / "w", b"one")
    right = hashlib.sha256(b"one").hexdigest()
    assert weight_hash.known_hash(path) == right
    read: list[Path] = []
    monkeypatch.setattr(weight_hash, "file_hash", lambda p: read.append(p) or "0" * 64)
    assert weight_hash.known_hash(path) == right
    assert not read
    settled(path, b"two")  # of the same size and time
    assert weight_hash.known_hash(path) == "0" * 64
    assert read == [path]


def test_a_file_just_written_is_not_remembered(tmp_path: Path, monkeypatch):
    path = tmp_path / "w"
    path.write_bytes(b"one")
    weight_hash.known_hash(path)
    monkeypatch.setattr(weight_hash, "file_hash", lambda _: "1" * 64)
    assert weight_hash.known_hash(path) == "1" * 64


def test_only_what_is_asked_for_is_read(tmp_path: Path):
    path = settled(tmp_path / "w", b"vae")
    hashes = weight_hash.WeightHashes({"vae": path, "unet": tmp_path / "missing"})
    assert hashes["vae"] == hashlib.sha256(b"vae").hexdigest()
    assert list(hashes) == ["vae", "unet"]
