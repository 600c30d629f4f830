"""What a step writes beside its pictures: never over what is somebody else's (B4, B6)."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
from PIL import Image

from renma.config.prepare._base import StepOptions
from renma.config.prepare.background import BackgroundOptions
from renma.config.prepare.focal import FocalOptions
from renma.core.errors import UserError
from renma.core.events import Silent
from renma.prepare import background, focal
from renma.prepare._sources import Source
from renma.prepare._step import Made, run_step


class Masked(StepOptions):
    """A step with one folder beside it."""

    beside: ClassVar[tuple[str, ...]] = ("masks",)
    masks: Path | None = None


@dataclass(frozen=True)
class Work:
    """Copies a picture, and notes which."""

    log: Path

    def key(self) -> Sequence[object]:
        return ()

    def open(self) -> Callable[[Source], list[Made]]:
        def one(source: Source) -> list[Made]:
            with self.log.open("a") as file:
                file.write(source.name + " ")
            with Image.open(source.path) as picture:
                rgb = picture.convert("RGB")
            return [Made(rgb, extra={"masks": rgb.convert("L")})]

        return one


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    for index in range(3):
        Image.new("RGB", (12, 8), (index * 50, 0, 0)).save(tmp_path / "in" / f"{index}.png")
    return tmp_path / "in"


def step(folder: Path, masks: Path | None, out: Path | None = None) -> list[str]:
    """Returns the names of the pictures that were worked on."""
    log = folder.parent / "log"
    log.write_text("")
    options = Masked(folder=folder, out=out, masks=masks, executor="serial")
    run_step("mask", options, Work(log), Silent())
    return log.read_text().split()


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if p.suffix)


@pytest.mark.parametrize("place", ["in", "in/masks", ".", "in-mask", "in-mask/masks"])
def test_it_lies_apart_from_originals_and_results(folder: Path, tmp_path: Path, place: str):
    with pytest.raises(UserError, match="--masks.*within|within.*--masks"):
        step(folder, tmp_path / place)  # out is the default, in-mask
    assert names(folder) == ["0.png", "1.png", "2.png"]


def test_somebody_elses_files_are_not_written_over(folder: Path, tmp_path: Path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "0.png").write_bytes(b"precious")
    with pytest.raises(UserError, match="is not empty"):
        step(folder, tmp_path / "mine")
    assert (tmp_path / "mine" / "0.png").read_bytes() == b"precious"
    step(folder, tmp_path / "masks")
    with pytest.raises(UserError, match="belongs to"):
        step(folder, tmp_path / "masks", out=tmp_path / "another")


def test_it_is_resumed_removed_and_respected_as_the_pictures_are(folder: Path, tmp_path: Path):
    masks = tmp_path / "masks"
    assert len(step(folder, masks)) == 3
    assert names(masks) == ["0.png", "1.png", "2.png"]
    assert step(folder, masks) == []
    (masks / "0.png").write_bytes(b"painted")
    (folder / "1.png").unlink()
    for name in ("0.png", "2.png"):
        Image.new("RGB", (12, 8), (9, 9, 9)).save(folder / name)
    assert step(folder, masks) == ["2.png"]
    assert names(masks) == ["0.png", "2.png"]
    assert (masks / "0.png").read_bytes() == b"painted"
    with Image.open(masks / "2.png") as mask:
        assert mask.getpixel((0, 0)) == 9


def test_only_what_is_not_there_yet_is_worked_on(folder: Path, tmp_path: Path):
    step(folder, None)
    assert len(step(folder, tmp_path / "one")) == 3  # asked for later
    assert step(folder, tmp_path / "two") == []  # another place: copied
    assert names(tmp_path / "two") == ["0.png", "1.png", "2.png"]
    (tmp_path / "two" / "1.png").unlink()
    assert step(folder, tmp_path / "two") == []  # removed by hand
    assert step(folder, tmp_path / "three") == ["1.png"]
    assert step(folder, None) == []


def test_moved_results_keep_their_folder(folder: Path, tmp_path: Path):
    step(folder, tmp_path / "masks")
    (tmp_path / "in-mask").rename(tmp_path / "moved")
    assert step(folder, tmp_path / "masks", out=tmp_path / "moved") == []
    with pytest.raises(UserError, match="belongs to"):
        step(folder, tmp_path / "masks")


def test_a_full_disk_there_blames_no_picture(folder: Path, tmp_path: Path, monkeypatch):
    real = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        if path.parent == tmp_path / "masks" and "1.png" in path.name:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UserError, match="No space left on device.*Free some space"):
        step(folder, tmp_path / "masks")
    monkeypatch.undo()
    assert step(folder, tmp_path / "masks") == ["1.png", "2.png"]


@pytest.mark.parametrize("place", ["in", "in-focal", "mine"])
def test_focal_overlays_write_over_nothing(folder: Path, tmp_path: Path, place: str):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "0.png").write_bytes(b"precious")
    options = FocalOptions.model_validate(
        {"folder": folder, "overlay": tmp_path / place, "executor": "serial", "face_weight": 0}
    )
    with pytest.raises(UserError, match="overlay|is not empty"):
        focal.run(options, Silent())
    assert (tmp_path / "mine" / "0.png").read_bytes() == b"precious"


@pytest.mark.parametrize("place", ["in", "in-background", "mine"])
def test_masks_write_over_nothing(folder: Path, tmp_path: Path, place: str):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "0.png").write_bytes(b"precious")
    options = BackgroundOptions(
        folder=folder, save_masks=tmp_path / place, executor="serial", backend="flat"
    )
    with pytest.raises(UserError, match="save-masks|is not empty"):
        background.run(options, Silent())
    assert (tmp_path / "mine" / "0.png").read_bytes() == b"precious"
