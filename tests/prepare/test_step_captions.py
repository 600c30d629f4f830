"""Captions and sources of a step's folder, run after run: nothing is lost, nothing is mixed up."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from renma.config.prepare._base import StepOptions
from renma.core.errors import UserError
from renma.prepare import _sources
from renma.prepare._sources import Source
from renma.prepare._step import Made, run_step


@dataclass(frozen=True)
class Copies:
    """Makes so many copies of each picture."""

    count: int = 1

    def key(self) -> Sequence[object]:
        return (self.count,)

    def open(self) -> Callable[[Source], list[Made]]:
        def one(source: Source) -> list[Made]:
            with Image.open(source.path) as picture:
                rgb = picture.convert("RGB")
            return [Made(rgb, "" if n == 1 else f"-{n}") for n in range(1, self.count + 1)]

        return one


class Lines:
    """A report that keeps what it is told."""

    def __init__(self) -> None:
        self.text = ""

    def event(self, kind: str, **data: object) -> None:
        if kind == "warned":
            self.line(str(data["text"]))

    def line(self, text: str) -> None:
        self.text += text + "\n"


def picture(path: Path, value: int, caption: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (12, 8), (value, 0, 0)).save(path)
    if caption is not None:
        path.with_suffix(".txt").write_text(caption)
    return path


def step(folder: Path, count: int = 1, out: Path | None = None) -> str:
    report = Lines()
    options = StepOptions(folder=folder, out=out or folder.parent / "out", executor="serial")
    run_step("copy", options, Copies(count), report)
    return report.text


def contents(folder: Path) -> dict[str, str]:
    """Red of each picture and text of each caption."""
    found = {}
    for path in folder.iterdir():
        if path.suffix == ".txt":
            found[path.name] = path.read_text()
        elif path.suffix == ".png":
            with Image.open(path) as opened:
                pixel = opened.convert("RGB").getpixel((0, 0))
            assert isinstance(pixel, tuple)
            found[path.name] = str(pixel[0])
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    picture(tmp_path / "in" / "a.png", 10, "cat")
    picture(tmp_path / "in" / "b.png", 20, "dog")
    picture(tmp_path / "in" / "c.png", 30)
    return tmp_path / "in"


def test_a_second_folder_of_originals_is_refused_and_nothing_is_touched(folder: Path, tmp_path):
    step(folder)
    before = contents(tmp_path / "out")
    picture(tmp_path / "other" / "a.png", 99, "car")
    with pytest.raises(UserError, match="was made from .*in.* another with -o"):
        step(tmp_path / "other", out=tmp_path / "out")
    assert contents(tmp_path / "out") == before
    options = StepOptions(folder=tmp_path / "other", out=tmp_path / "out", dry_run=True)
    with pytest.raises(UserError, match="was made from"):
        run_step("copy", options, Copies(), Lines())


def test_a_moved_folder_goes_on(folder: Path, tmp_path: Path):
    step(folder)
    folder.rename(tmp_path / "moved")
    picture(tmp_path / "moved" / "d.png", 40, "new")
    said = step(tmp_path / "moved", out=tmp_path / "out")
    assert "1 worked on now, 3 done before" in said
    assert contents(tmp_path / "out")["d.txt"] == "new"


def test_captions_go_with_the_pictures_that_are_made_no_more(folder: Path, tmp_path: Path):
    step(folder, count=2)
    assert contents(tmp_path / "out")["a-2.txt"] == "cat"
    (tmp_path / "out" / "b-2.txt").write_text("dog, edited")
    said = step(folder)
    left = contents(tmp_path / "out")
    assert set(left) == {"a.png", "a.txt", "b.png", "b.txt", "b-2.txt", "c.png"}
    assert left["b-2.txt"] == "dog, edited"
    assert "b-2.txt" in said


def test_a_caption_goes_with_its_source_and_does_not_come_back_for_another(folder, tmp_path):
    step(folder)
    (folder / "a.png").unlink()
    (folder / "a.txt").unlink()
    step(folder)
    assert set(contents(tmp_path / "out")) == {"b.png", "b.txt", "c.png"}
    picture(folder / "a.png", 77, "bus")
    said = step(folder)
    assert contents(tmp_path / "out")["a.txt"] == "bus"
    assert "edited" not in said


def test_another_picture_of_the_same_name_does_not_keep_a_carried_caption(folder, tmp_path):
    step(folder)
    (folder / "a.txt").unlink()
    picture(folder / "a.png", 77)
    step(folder)
    assert contents(tmp_path / "out")["a.png"] == "77"
    assert "a.txt" not in contents(tmp_path / "out")


def test_what_was_removed_by_hand_does_not_come_back(folder: Path, tmp_path: Path):
    step(folder)
    (tmp_path / "out" / "b.png").unlink()
    (tmp_path / "out" / "b.txt").unlink()
    (tmp_path / "out" / "a.txt").unlink()
    step(folder)
    assert set(contents(tmp_path / "out")) == {"a.png", "c.png"}
    (folder / "a.txt").write_text("cat, sitting")  # said anew: that is news
    step(folder)
    assert contents(tmp_path / "out")["a.txt"] == "cat, sitting"


def test_a_removed_caption_is_removed_too_unless_it_was_edited(folder: Path, tmp_path: Path):
    step(folder)
    (tmp_path / "out" / "b.txt").write_text("dog, edited")
    (folder / "a.txt").unlink()
    (folder / "b.txt").unlink()
    said = step(folder)
    assert "a.txt" not in contents(tmp_path / "out")
    assert contents(tmp_path / "out")["b.txt"] == "dog, edited"
    assert "b.txt" in said


def test_an_original_saved_in_another_format_keeps_its_picture(folder: Path, tmp_path: Path):
    """The same pixels under another ending: the old row must not take the new picture along."""
    step(folder)
    with Image.open(folder / "a.png") as opened:
        opened.save(folder / "a.bmp")
    (folder / "a.png").unlink()
    said = step(folder)
    assert contents(tmp_path / "out")["a.png"] == "10"
    assert contents(tmp_path / "out")["a.txt"] == "cat"
    assert "removed by hand" not in said


def test_a_name_that_another_source_has_is_not_taken(tmp_path: Path):
    folder = tmp_path / "in"
    picture(folder / "a.png", 10)
    picture(folder / "a.bmp", 20)
    step(folder)  # a-png.png and a-bmp.png
    (folder / "a.bmp").unlink()
    picture(folder / "a-png.webp", 30)
    step(folder)
    assert len(contents(tmp_path / "out")) == 2
    assert contents(tmp_path / "out")["a-png.png"] == "10"


def test_an_unreadable_picture_is_skipped_and_named(folder: Path, tmp_path: Path, monkeypatch):
    """F27: it vanished after it was listed, or nobody may read it; what was made of it stays."""
    step(folder)
    picture(folder / "d.png", 40)
    real = _sources.file_hash

    def no(path: Path) -> str:
        if path.name in {"a.png", "d.png"}:
            raise PermissionError(13, os.strerror(13))
        return real(path)

    monkeypatch.setattr(_sources, "file_hash", no)
    said = step(folder)
    assert "cannot be read (Permission denied): a.png, d.png" in said
    assert contents(tmp_path / "out")["a.png"] == "10"
    assert contents(tmp_path / "out")["a.txt"] == "cat"
    monkeypatch.undo()
    step(folder)
    assert contents(tmp_path / "out")["d.png"] == "40"


def test_an_unreadable_caption_is_named(folder: Path, tmp_path: Path, monkeypatch):
    real = Path.read_bytes

    def no(path: Path) -> bytes:
        if path == folder / "a.txt":
            raise PermissionError(13, os.strerror(13))
        return real(path)

    monkeypatch.setattr(Path, "read_bytes", no)
    said = step(folder)
    assert "captions that cannot be read" in said
    assert contents(tmp_path / "out")["b.txt"] == "dog"
    assert (tmp_path / "out" / "c.png").exists()


def test_a_copied_folder_is_no_other_folder(folder: Path, tmp_path: Path):
    step(folder)
    shutil.copytree(folder, tmp_path / "copy")
    assert "0 worked on now, 3 done before" in step(tmp_path / "copy", out=tmp_path / "out")
