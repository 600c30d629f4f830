"""B1: the page and the list of ``renma prepare lint`` are written over nothing of the user's."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from renma.config.prepare.lint import LintOptions
from renma.core.errors import UserError
from renma.core.events import Silent
from renma.prepare import lint


@pytest.fixture
def pics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RENMA_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "pics"
    folder.mkdir()
    for file in (folder / "cat.png", tmp_path / "dog.PNG"):
        Image.effect_noise((64, 64), 90).save(file)
    for name, text in (("pics/cat.txt", "cat"), ("note.txt", "mine"), ("site.html", "<p>mine")):
        (tmp_path / name).write_text(text)
    return folder


@pytest.mark.parametrize(
    ("option", "name", "message"),
    [
        ("html", "pics/cat.png", r"--html must end in \.html or \.htm"),
        ("html", "site.html", "is there already and was not written by --html"),
        ("fix_list", "pics/cat.png", r"--fix-list must end in \.txt"),
        ("fix_list", "pics/cat.txt", "is there already and was not written by --fix-list"),
        ("fix_list", "pics/new.txt", "lies inside the folder of pictures"),
        ("fix_list", "note.txt", "is there already and was not written by --fix-list"),
        ("fix_list", "dog.txt", r"would be the caption of dog\.PNG"),
    ],
)
def test_what_is_not_ours_is_refused(pics, option, name, message):
    """B1. Whatever stands there keeps its bytes, and no new file comes up."""
    top = pics.parent
    before = {file: file.read_bytes() for file in top.rglob("*") if file.is_file()}
    with pytest.raises(UserError, match=message):
        lint.run(LintOptions(folder=pics, executor="serial", **{option: top / name}), Silent())
    assert {file: file.read_bytes() for file in top.rglob("*") if file.is_file()} == before


def test_what_lint_wrote_is_replaced(pics):
    """B1. A second run brings page and list up to date."""
    page, listed = pics.parent / "page.html", pics.parent / "out.txt"
    options = LintOptions(folder=pics, executor="serial", html=page, fix_list=listed)
    lint.run(options, Silent())
    first = listed.read_text()
    (pics / "torn.png").write_bytes(b"x")
    lint.run(options, Silent())
    assert "torn.png" in listed.read_text()
    assert "torn.png" not in first
    assert "torn.png" in page.read_text()
