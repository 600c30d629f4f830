"""A second check decodes no picture again (G2), and a changed one is never taken for the old."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from renma.core.errors import UserError
from renma.data import known_looks
from renma.data.known_looks import KnownLooks


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setenv("RENMA_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, size in {"a": (40, 30), "b": (64, 64)}.items():
        Image.new("RGBA", size, (255, 0, 0, 9)).save(folder / f"{name}.png")
    return folder


def look(folder: Path) -> list[tuple[int, int, bool]]:
    looks = KnownLooks(folder, 10_000)
    found = [looks.of(path)[0] for path in sorted(folder.iterdir())]
    looks.save()
    return [(one.width, one.height, one.transparent) for one in found]


def test_what_was_seen_is_not_decoded_again_until_it_changes(pictures: Path, monkeypatch):
    decoded: list[str] = []
    really = known_looks.inspect

    def counted(path: Path, max_pixels: int):
        decoded.append(path.name)
        return really(path, max_pixels)

    monkeypatch.setattr(known_looks, "inspect", counted)
    first = look(pictures)
    assert first == [(40, 30, True), (64, 64, True)]
    assert decoded == ["a.png", "b.png"]
    assert look(pictures) == first
    assert decoded == ["a.png", "b.png"]
    Image.new("RGB", (50, 30), "red").save(pictures / "a.png")
    assert look(pictures) == [(50, 30, False), (64, 64, True)]
    assert decoded == ["a.png", "b.png", "a.png"]


def test_broken_pictures_and_damaged_notes_are_not_believed(pictures: Path, tmp_path: Path):
    (pictures / "c.png").write_bytes(b"no picture")
    for _ in range(2):
        with pytest.raises(UserError, match=r"c\.png"):
            look(pictures)
    (pictures / "c.png").unlink()
    look(pictures)
    (note,) = (tmp_path / "cache" / "looks").iterdir()
    note.write_text('{"x": [1, 2]}')
    assert look(pictures) == [(40, 30, True), (64, 64, True)]
