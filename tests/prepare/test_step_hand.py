"""What a person did in a step's folder is kept and named; what cannot be held is refused (B1-B7)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from renma.config.prepare.face import FaceOptions
from renma.config.prepare.focal import FocalOptions
from renma.config.prepare.resize import ResizeOptions
from renma.core.errors import UserError
from renma.prepare.resize import run


class Lines:
    """A report that keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def event(self, kind: str, **data: object) -> None:
        if kind == "warned":
            self.lines.append(str(data["text"]))

    def line(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    for index in range(4):
        pixels = np.random.default_rng(index).integers(0, 256, (30, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "in" / f"{index}.png")
        (tmp_path / "in" / f"{index}.txt").write_text(f"picture {index}")
    return tmp_path / "in"


def _resize(folder: Path, **given: Any) -> str:
    report = Lines()
    given = {"size": "20", "folder": folder, "out": folder.parent / "out", **given}
    run(ResizeOptions.model_validate({"executor": "serial", **given}), report)
    return "\n".join(report.lines)


def _size(path: Path) -> tuple[int, int]:
    with Image.open(path) as picture:
        return picture.size


@pytest.mark.parametrize("kind", [FaceOptions, FocalOptions, ResizeOptions])
def test_sizes_beyond_the_limit_are_refused_from_the_numbers(kind: Any) -> None:
    given = {"folder": Path("in"), "size": "9000x9000"}
    given |= {"mode": "pad"} if kind is ResizeOptions else {}
    with pytest.raises(UserError, match=r"--size 9000x9000 .* --max-pixels 64,000,000") as error:
        kind.model_validate(given)
    assert "--max-pixels" in error.value.remedy
    assert kind.model_validate({**given, "max_pixels": 81_000_000}).size == (9000, 9000)
    with pytest.raises(UserError, match="--max-pixels"):
        kind.model_validate({**given, "max_pixels": 80_999_999})


def test_fit_is_limited_by_what_comes_out(folder: Path) -> None:
    said = _resize(folder, size="1000x60", max_pixels=60 * 80)
    assert "4 pictures of 4" in said
    with pytest.raises(UserError, match="raise --max-pixels"):
        _resize(folder, size="1000x61", max_pixels=60 * 80)


def test_the_limit_is_named_as_the_verb_has_it(folder: Path) -> None:
    with pytest.raises(UserError, match="raise --max-pixels") as caught:
        _resize(folder, max_pixels=1000)
    assert "data." not in caught.value.line()


def test_a_file_of_a_person_is_never_written_over(folder: Path) -> None:
    out = folder.parent / "out"
    (folder / "3.png").rename(folder.parent / "later.png")
    _resize(folder)
    Image.new("RGB", (5, 5), "red").save(out / "3.png")
    painted = (out / "3.png").read_bytes()
    (folder.parent / "later.png").rename(folder / "3.png")
    for _ in range(2):
        said = _resize(folder)
        assert "skipped: a file of that name lies there that this step did not make" in said
        assert "3.png" in said
        assert (out / "3.png").read_bytes() == painted
        assert not (out / "3.txt").exists()
    (out / "3.png").unlink()
    assert "4 pictures of 4" in _resize(folder)
    assert _size(out / "3.png") == (20, 15)
    assert (out / "3.txt").read_text() == "picture 3"


def test_what_a_killed_run_wrote_without_noting_it_is_no_obstacle(folder: Path) -> None:
    _resize(folder)
    rows = folder.parent / "out" / ".renma" / "made.jsonl"
    rows.write_text("".join(rows.read_text().splitlines(keepends=True)[:2]))
    said = _resize(folder)
    assert "4 pictures of 4" in said
    assert "2 worked on now, 2 done before, 0 skipped" in said


def test_results_of_vanished_originals_are_named(folder: Path) -> None:
    _resize(folder)
    for index in (1, 2):
        (folder / f"{index}.png").unlink()
    assert "2 removed, their originals are gone: 1.png, 2.png." in _resize(folder)
    assert not list((folder.parent / "out").glob("[12].*"))


def test_a_removed_picture_comes_back_with_its_caption_and_a_word(folder: Path) -> None:
    out = folder.parent / "out"
    _resize(folder)
    for name in ("1.png", "1.txt", "2.png"):
        (out / name).unlink()
    assert "2 were removed by hand and stay away" in _resize(folder)
    assert not (out / "1.txt").exists()
    (out / "3.txt").unlink()  # a caption alone stays away
    said = _resize(folder, size="10")
    assert "2 that were removed by hand are made anew" in said
    assert _size(out / "1.png") == (10, 8)
    assert (out / "1.txt").read_text() == "picture 1"
    assert not (out / "3.txt").exists()
