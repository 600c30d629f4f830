"""Errors, registry, keyed draws, files, events."""

from __future__ import annotations

import collections
import os
from pathlib import Path

import pytest

from renma.core import keyed, registry
from renma.core.errors import UserError, did_you_mean
from renma.core.events import EventLog, Silent, read_events
from renma.core.store import Store, digest, file_hash, write_atomic, write_text


def test_error_is_one_line():
    error = UserError("is\nbroken", where="a.toml:3", remedy="Mend it.")
    assert error.line() == "a.toml:3: is broken. Mend it."


def test_did_you_mean():
    assert did_you_mean("max_step", ["max_steps", "seed"]) == "Did you mean 'max_steps'?"
    assert did_you_mean("zzz", ["max_steps"]) == ""


def test_registry_names_files_and_suggests():
    assert "lora" in registry.names("renma.adapters")
    assert not any(name.startswith("_") for name in registry.names("renma.adapters"))
    with pytest.raises(UserError, match="not one of the schedules.*Did you mean 'cosine'"):
        registry.load("renma.schedules", "cosin")


def test_keys_are_stable_over_processes_and_versions():
    import subprocess
    import sys

    code = "from renma.core import keyed; print(keyed.key(42, 'noise', 3, 7))"
    runs = [
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
        ).stdout
        for seed in (1, 2)
    ]
    assert runs[0] == runs[1] == f"{keyed.key(42, 'noise', 3, 7)}\n"


def test_keys_do_not_collide_and_parts_do_not_run_together():
    keys = [
        keyed.key(s, p, e, i)
        for s in range(3)
        for p in ("a", "b")
        for e in range(10)
        for i in range(100)
    ]
    assert len(set(keys)) == len(keys)
    assert keyed.key(1, "a", 11, 1) != keyed.key(1, "a", 1, 11)
    assert keyed.key(1, "a1") != keyed.key(1, "a", 1)


def test_draws_are_uniform():
    counts = collections.Counter(
        keyed.rng(0, "timestep", 0, i).randrange(10) for i in range(20_000)
    )
    assert all(1800 < counts[n] < 2200 for n in range(10))


def test_write_is_whole_or_absent(tmp_path: Path):
    path = tmp_path / "deep" / "x.txt"
    write_text(path, "old")

    def fail(temporary: Path) -> None:
        temporary.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(UserError, match="No space left"):
        write_atomic(path, fail)
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]


def test_write_syncs_file_before_name_and_folder_after(tmp_path: Path, monkeypatch):
    done = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (done.append("sync"), fsync(fd))[1])
    monkeypatch.setattr(Path, "replace", lambda a, b: (done.append("rename"), replace(a, b))[1])
    write_text(tmp_path / "x", "y")
    assert done == ["sync", "rename", "sync"]


def test_written_files_follow_the_umask(tmp_path: Path):
    before = os.umask(0o022)
    try:
        write_text(tmp_path / "x", "y")
    finally:
        os.umask(before)
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o644


def test_unwritable_place_is_a_users_mistake(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        write_text(tmp_path / "file" / "x", "y")


def test_store_and_digest(tmp_path: Path):
    store = Store("kind", ".bin", tmp_path)
    key = digest(["a", 1])
    assert key != digest(["a1"]) != digest(["a", "1 "])
    path = store.put(key, lambda p: p.write_bytes(b"abc"))
    assert path == store.path(key)
    assert path.read_bytes() == b"abc"
    assert file_hash(path).startswith("ba7816bf")  # SHA-256 of "abc" (FIPS 180-2)


def test_events_survive_a_torn_line(tmp_path: Path):
    path = tmp_path / "events.jsonl"
    log = EventLog(path, Silent())
    log.event("step", step=1)
    log.close()
    with path.open("a") as file:
        file.write('{"kind": "step", "st')
    log = EventLog(path)
    log.event("step", step=2, text="日本")
    log.close()
    rows = list(read_events(path))
    assert [row["step"] for row in rows] == [1, 2]
    assert rows[1]["text"] == "日本"


def test_a_row_with_odd_line_ends_in_it_stays_one_row(tmp_path: Path):
    path = tmp_path / "events.jsonl"
    log = EventLog(path)
    log.event("sample", prompt="a\u2028b\x0c c\x85d\udcff")
    log.close()
    path.write_bytes(path.read_bytes() + b'{"kind": "st\xff\n')
    assert [row["prompt"] for row in read_events(path)] == ["a\u2028b\x0c c\x85d\udcff"]


def test_a_removed_log_is_begun_again(tmp_path: Path):
    path = tmp_path / "run" / "events.jsonl"
    log = EventLog(path)
    log.event("step", step=1)
    path.unlink()
    path.parent.rmdir()
    log.event("step", step=2)
    log.close()
    assert [row["step"] for row in read_events(path)] == [2]


def test_a_log_that_cannot_be_made_is_a_users_mistake(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        EventLog(tmp_path / "file" / "events.jsonl")


def test_parts_of_killed_writers_leave_the_cache_after_a_day(tmp_path: Path):
    """Younger ones may be another process' that is writing now."""
    store = Store("kind", ".bin", tmp_path)
    folder = store.put(digest(["a"]), lambda p: p.write_bytes(b"1")).parents[1] / ".parts"
    old, young = folder / ".x.bin.01234567.part", folder / ".x.bin.89abcdef.part"
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    store.put(digest(["b"]), lambda p: p.write_bytes(b"2"))
    assert {old, young} <= set(folder.iterdir())  # looked at once, at its first entry
    Store("kind", ".bin", tmp_path).put(digest(["b"]), lambda p: p.write_bytes(b"2"))
    assert list(folder.iterdir()) == [young]


def test_a_message_keeps_the_dots_of_paths():
    """A line ends in one stop, and `../models` stays what the user wrote."""
    error = UserError("there is no such file", where="model.path = ../models/x..y", remedy="Look.")
    assert error.line() == "model.path = ../models/x..y: there is no such file. Look."
    assert UserError("it ended.").line() == "it ended."
