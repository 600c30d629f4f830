"""A command that can make nothing of any picture says so with an exit code (rows B1-B7, F24)."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from renma.cli import main


@pytest.fixture
def blank(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    for name in ("a.png", "b.png"):
        Image.new("RGB", (64, 48), "white").save(tmp_path / "in" / name)
    return tmp_path / "in"


def told(capfd: pytest.CaptureFixture[str]) -> str:
    """Returns the last line for people, which is the mistake."""
    return capfd.readouterr().err.splitlines()[-1]


def test_no_face_in_any_picture(blank: Path, capfd):
    """B3: scripts go by the exit code; the sheet still shows what was skipped."""
    out = blank.parent / "out"
    words = ["prepare", "face", str(blank), "-o", str(out), "--executor", "serial"]
    assert main([*words, "--detector", "haar"]) == 2
    line = f"renma: {blank}: nothing was made of 2 pictures: no face was found."
    assert told(capfd) == line
    assert (out / "sheet.html").exists()
    assert main([*words, "--detector", "haar"]) == 2  # the second time as the first
    assert told(capfd) == line
    assert main([*words, "--detector", "haar", "--missing", "copy"]) == 0


def test_several_reasons_are_counted(blank: Path, capfd):
    """B6."""
    (blank / "c.png").write_bytes(b"no picture")
    words = ["prepare", "resize", str(blank), "--size", "64", "--max-pixels", "100"]
    assert main([*words, "-o", str(blank.parent / "out"), "--executor", "serial"]) == 2
    assert "nothing was made of 3 pictures: has 64x48 pixels" in (line := told(capfd))
    assert line.endswith("(2 of them; and 1 other reason).")


def test_one_of_several_is_enough(blank: Path, capfd):
    """B6: what is skipped among others is named, and is no mistake."""
    (blank / "a.png").write_bytes(b"no picture")
    words = ["prepare", "resize", str(blank), "--size", "32", "-o", str(blank.parent / "out")]
    assert main([*words, "--executor", "serial"]) == 0
    assert "skipped" in "".join(capfd.readouterr())


def test_nothing_can_be_collected(blank: Path, capfd):
    """B1."""
    for name in ("a.png", "b.png"):
        (blank / name).write_bytes(b"no picture")
    words = ["prepare", "collect", str(blank), "-o", str(blank.parent / "out")]
    assert main([*words, "--executor", "serial"]) == 2
    assert "nothing was made of 2 pictures: " in told(capfd)


def test_a_copy_of_what_is_there_already_is_no_mistake(blank: Path):
    """B1: a second source that brings nothing new."""
    (blank / "b.png").unlink()
    (blank.parent / "more").mkdir()
    Image.new("RGB", (64, 48), "white").save(blank.parent / "more" / "z.png")
    words = ["-o", str(blank.parent / "out"), "--executor", "serial", "--drop-duplicates", "exact"]
    assert main(["prepare", "collect", str(blank), *words]) == 0
    assert main(["prepare", "collect", str(blank.parent / "more"), *words]) == 0
    assert [p.name for p in (blank.parent / "out").glob("*.png")] == ["a.png"]


@pytest.mark.parametrize("verb", ["resize", "collect"])
def test_a_page_of_the_user_is_not_the_contact_sheet(blank: Path, verb: str, capfd):
    """B6: what somebody wrote under the sheet's name stays, and no work is lost over it."""
    Image.new("RGB", (64, 48), "red").save(blank / "b.png")
    out = blank.parent / "out"
    words = ["prepare", verb, str(blank), "-o", str(out), "--executor", "serial"]
    words += ["--size", "32"] if verb == "resize" else []
    assert main(words) == 0
    assert main(words) == 0  # the sheet of the first time is replaced
    (out / "sheet.html").write_text("<p>mine")
    capfd.readouterr()
    assert main(words) == 2
    assert "sheet.html: is there already and was not written by renma." in told(capfd)
    assert (out / "sheet.html").read_text() == "<p>mine"


@pytest.mark.parametrize(
    ("words", "near"),
    [
        ("prepare resize {}/mine/trian --size 32", "{}/mine/train"),
        ("prepare resize {}/mnie/train/10_a --size 32", "{}/mine/train/10_a"),
        ("prepare lint {}/mine/train/10_b", "{}/mine/train/10_a"),
        ("prepare collect {}/mine/train/10_a/pic.pgn -o {}/out", "{}/mine/train/10_a/pic.png"),
        ("prepare erase {}/mine/train --masks {}/mine/maks", "{}/mine/masks"),
        ("prepare repeat {}/mine/trian", "{}/mine/train"),
        ("caption count {}/mine/trian", "{}/mine/train"),
        ("caption undo {}/mine/trian", "{}/mine/train"),
        ("caption merge {}/mine/trian -o {}/meta.json", "{}/mine/train"),
    ],
)
def test_a_misspelt_folder_is_told_the_near_one(tmp_path: Path, words: str, near: str, capfd):
    """B1, C3, G2."""
    for name in ("train/10_a", "masks"):
        (tmp_path / "mine" / name).mkdir(parents=True)
    Image.new("RGB", (32, 32)).save(tmp_path / "mine/train/10_a/pic.png")
    assert main([word.format(tmp_path) for word in words.split()]) == 2
    assert told(capfd).endswith(f"Did you mean '{near.format(tmp_path)}'?")


@pytest.mark.parametrize("name", ["quite else", "mine/quite else", "\0", "x" * 300])
def test_what_is_near_nothing_gets_no_hint(tmp_path: Path, name: str, capfd):
    """G2."""
    (tmp_path / "mine").mkdir()
    (tmp_path / ".hidden").mkdir()
    assert main(["prepare", "resize", str(tmp_path / name), "--size", "32"]) == 2
    assert "Did you mean" not in told(capfd)
