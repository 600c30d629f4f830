"""B, C: one rule for the folders inside a folder: no hidden ones, no links, no loops."""

from __future__ import annotations

from pathlib import Path

import pytest

from renma.core.errors import UserError
from renma.data.folders import folders
from renma.data.notes import Notes


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for name in ("outside/deep", "pics/b/c", "pics/a", "pics/.hidden/x"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "pics" / "b" / "file.txt").touch()
    return tmp_path


def names(folder: Path, **options) -> list[str]:
    return [inner.relative_to(folder).as_posix() for inner in folders(folder, **options)]


def test_folders_come_in_order_without_hidden_ones(place):
    assert names(place / "pics") == [".", "a", "b", "b/c"]
    assert names(place / "pics", recursive=False) == ["."]


def test_hidden_folders_above_do_not_matter(place):
    assert names(place / "pics" / ".hidden") == [".", "x"]


def test_links_are_named_and_not_followed(place):
    """Neither out of the folder nor round and round; the folder itself may be a link."""
    pics = place / "pics"
    (pics / "a" / "away").symlink_to(place / "outside", target_is_directory=True)
    (pics / "b" / "loop").symlink_to(pics, target_is_directory=True)
    (pics / "b" / "link.txt").symlink_to(pics / "b" / "file.txt")
    notes = Notes()
    assert names(pics, notes=notes) == [".", "a", "b", "b/c"]
    (line,) = notes.lines()
    assert "away" in line
    assert "loop" in line
    assert "link.txt" not in line
    (place / "pics2").symlink_to(pics, target_is_directory=True)
    assert names(place / "pics2") == [".", "a", "b", "b/c"]


def test_a_folder_that_is_not_there_is_one_line(place):
    with pytest.raises(UserError, match="nowhere"):
        names(place / "nowhere")
