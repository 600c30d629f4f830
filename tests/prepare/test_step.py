"""A step over a folder: originals stay, a killed one goes on, edits by hand are kept (B1-B7)."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from renma.config.prepare._base import StepOptions
from renma.core.errors import Interrupted, UserError
from renma.prepare._record import Record
from renma.prepare._sources import Source, find
from renma.prepare._step import Made, run_step


@dataclass(frozen=True)
class Mirror:
    """Turns pictures over, notes which, and can fail at one of them."""

    log: Path
    stop_at: int = -1
    version: int = 1

    def key(self) -> Sequence[object]:
        return (self.version,)

    def open(self) -> Callable[[Source], list[Made]]:
        def one(source: Source) -> list[Made]:
            done = self.log.read_text().split() if self.log.exists() else []
            if len(done) == self.stop_at:
                raise KeyboardInterrupt
            if "bad" in source.name:
                raise UserError("has no face")
            names = " ".join([*done, source.name])
            self.log.write_text(names, errors="backslashreplace")
            with Image.open(source.path) as picture:
                return [Made(picture.convert("RGB").transpose(Image.Transpose.FLIP_LEFT_RIGHT))]

        return one


class Lines:
    """A report that keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def event(self, kind: str, **data: object) -> None:
        if kind == "warned":
            self.lines.append(str(data["text"]))

    def line(self, text: str) -> None:
        self.lines.append(text)


def _picture(path: Path, seed: int = 0, size: tuple[int, int] = (12, 8)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def _pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for index in range(4):
        _picture(tmp_path / "in" / f"{index}.png", index)
    (tmp_path / "in" / "0.txt").write_text("a cat")
    return tmp_path / "in"


def _run(folder: Path, work: Mirror, **options: object) -> list[str]:
    report = Lines()
    chosen = StepOptions.model_validate(
        {"folder": folder, "executor": "serial", "out": folder.parent / "out", **options}
    )
    run_step("mirror", chosen, work, report)
    return report.lines


def _hashes(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.iterdir())}


def test_makes_a_new_folder_and_never_touches_the_originals(folder: Path, tmp_path: Path) -> None:
    before = _hashes(folder)
    _run(folder, Mirror(tmp_path / "log"))
    assert _hashes(folder) == before
    for index in range(4):
        made = _pixels(tmp_path / "out" / f"{index}.png")
        assert (made == _pixels(folder / f"{index}.png")[:, ::-1]).all()
    assert (tmp_path / "out" / "0.txt").read_text() == "a cat"
    assert (tmp_path / "out" / "sheet.html").read_text().count("data:image/jpeg") == 8


def test_an_interrupted_step_goes_on_without_repeating_work(folder: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with pytest.raises(Interrupted):
        _run(folder, Mirror(log, stop_at=2))
    assert log.read_text().split() == ["0.png", "1.png"]
    lines = _run(folder, Mirror(log))
    assert log.read_text().split() == ["0.png", "1.png", "2.png", "3.png"]
    assert "2 worked on now, 2 done before" in " ".join(lines)


def test_only_what_changed_is_made_again(folder: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    _run(folder, Mirror(log))
    log.unlink()
    _picture(folder / "2.png", 99)
    (folder / "3.png").unlink()
    _run(folder, Mirror(log))
    assert log.read_text().split() == ["2.png"]
    assert not (tmp_path / "out" / "3.png").exists()
    log.unlink()
    _run(folder, Mirror(log, version=2))
    assert len(log.read_text().split()) == 3


def test_what_a_person_changed_or_removed_is_respected(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    _run(folder, Mirror(tmp_path / "log"))
    _picture(out / "1.png", 77)
    painted = (out / "1.png").read_bytes()
    (out / "2.png").unlink()
    (out / "0.txt").write_text("a cat, edited")
    lines = " ".join(_run(folder, Mirror(tmp_path / "log", version=2)))
    assert (out / "1.png").read_bytes() == painted
    assert "changed by hand since, kept as it is: 1.png" in lines
    assert (out / "0.txt").read_text() == "a cat, edited"
    (folder / "0.txt").write_text("a dog")
    lines = " ".join(_run(folder, Mirror(tmp_path / "log", version=2)))
    assert (out / "0.txt").read_text() == "a cat, edited"
    assert "captions edited here are kept" in lines


def test_a_removed_picture_stays_away(folder: Path, tmp_path: Path) -> None:
    _run(folder, Mirror(tmp_path / "log"))
    (tmp_path / "out" / "2.png").unlink()
    lines = " ".join(_run(folder, Mirror(tmp_path / "log")))
    assert not (tmp_path / "out" / "2.png").exists()
    assert "1 were removed by hand and stay away" in lines


def test_skipped_pictures_are_named_with_the_reason(folder: Path, tmp_path: Path) -> None:
    _picture(folder / "bad.png")
    lines = _run(folder, Mirror(tmp_path / "log"))
    assert "skipped: has no face: bad.png." in lines
    assert not (tmp_path / "out" / "bad.png").exists()


def test_one_name_twice_makes_two_pictures(folder: Path, tmp_path: Path) -> None:
    _picture(folder / "0.bmp", 5)
    _picture(folder / "0-png.png", 6)
    _run(folder, Mirror(tmp_path / "log"))
    made = {p.name for p in (tmp_path / "out").glob("*.png")}
    assert len(made) == 6
    assert {"0-bmp.png", "0-png.png", "0-png_.png"} <= made


def test_names_of_every_kind_are_found_and_kept(tmp_path: Path) -> None:
    names = ["練磨 😀.png", "[a] %20 *.png", "-rf.png", "deep/er/x.png", "a" * 200 + ".png"]
    for index, name in enumerate(names):
        _picture(tmp_path / "in" / name, index)
    raw = os.fsdecode(b"caf\xe9.png")
    _picture(tmp_path / "in" / raw, 9)
    _picture(tmp_path / "in" / ".hidden" / "no.png", 9)
    _run(tmp_path / "in", Mirror(tmp_path / "log"))
    made = {s.name for s in find(tmp_path / "out")}
    assert made == {*names, raw}


@pytest.mark.parametrize("out", ["in", "in/made", "."])
def test_a_folder_within_the_originals_is_refused(folder: Path, tmp_path: Path, out: str) -> None:
    with pytest.raises(UserError, match="Choose a folder beside it"):
        _run(folder, Mirror(tmp_path / "log"), out=tmp_path / out)


def test_a_folder_of_somebody_else_is_refused(folder: Path, tmp_path: Path) -> None:
    _picture(tmp_path / "out" / "mine.png")
    with pytest.raises(UserError, match="was not made by this command"):
        _run(folder, Mirror(tmp_path / "log"))
    shutil.rmtree(tmp_path / "out")
    _run(folder, Mirror(tmp_path / "log"))
    options = StepOptions(folder=folder, out=tmp_path / "out", executor="serial")
    with pytest.raises(UserError, match="was made by `renma prepare mirror`"):
        run_step("turn", options, Mirror(tmp_path / "log"), Lines())


def test_a_full_disk_ends_the_step_and_blames_no_picture(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        if "2.png" in path.name:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UserError, match="No space left on device.*Free some space"):
        _run(folder, Mirror(tmp_path / "log"))
    monkeypatch.undo()
    lines = _run(folder, Mirror(tmp_path / "log"))
    assert "2 worked on now, 2 done before, 0 skipped" in " ".join(lines)


def test_a_dry_run_writes_nothing(folder: Path, tmp_path: Path) -> None:
    _run(folder, Mirror(tmp_path / "log"), dry_run=True)
    assert not (tmp_path / "out").exists()


def test_a_row_torn_by_a_kill_is_dropped(folder: Path, tmp_path: Path) -> None:
    _run(folder, Mirror(tmp_path / "log"))
    rows = tmp_path / "out" / ".renma" / "made.jsonl"
    rows.write_text(rows.read_text()[:-20])
    record = Record(tmp_path / "out")
    head = record.head()
    assert head is not None
    record.begin(head)
    assert sorted(record.rows) == ["0.png", "1.png", "2.png"]


def _command(folder: Path, out: Path, *more: str) -> list[str]:
    start = [sys.executable, "-m", "renma", "prepare", "resize", str(folder), "-o", str(out)]
    return [*start, "--size", "700", *more]


def test_killed_with_its_workers_and_started_again(tmp_path: Path) -> None:
    """F14's promise for pictures: every finished one is kept, none is half written."""
    for index in range(24):
        _picture(tmp_path / "in" / f"{index:02}.png", index, (500, 500))
    command = _command(tmp_path / "in", tmp_path / "out", "--workers", "2")
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
    rows = tmp_path / "out" / ".renma" / "made.jsonl"
    while process.poll() is None and not (rows.exists() and rows.read_text().count("\n") >= 3):
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 20
    while _alive(process.pid) and time.monotonic() < deadline:  # its session: the workers
        time.sleep(0.05)
    assert not _alive(process.pid)
    finished = {json.loads(line)["source"] for line in rows.read_text().splitlines()}
    before = {n: (tmp_path / "out" / n).stat().st_mtime_ns for n in finished}
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"{24 - len(finished)} worked on now, {len(finished)} done before" in again.stdout
    assert {n: (tmp_path / "out" / n).stat().st_mtime_ns for n in finished} == before
    assert {_pixels(p).shape for p in (tmp_path / "out").glob("*.png")} == {(700, 700, 3)}


def _alive(session: int) -> bool:
    """Says whether a process of a session still runs."""
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            return True
    return False
