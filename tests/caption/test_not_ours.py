"""C1, C3, C5: commands write over nothing of the user's, and say what is odd before they work."""

from __future__ import annotations

import shutil
from importlib.resources import files
from pathlib import Path

import pytest

from renma.caption import edit, maruzen, tag
from renma.config.caption.edit import EditOptions
from renma.config.caption.maruzen import MaruzenOptions
from renma.config.caption.tag import TagOptions
from renma.core.errors import UserError

SAMPLES = Path(str(files("renma") / "assets" / "samples" / "character" / "train"))


class Told:
    def __init__(self) -> None:
        self.warned: list[str] = []
        self.lines: list[str] = []

    def event(self, kind: str, **data) -> None:
        if kind == "warned":
            self.warned.append(data["text"])

    def line(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture
def pics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RENMA_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "pics"
    folder.mkdir()
    for name, picture in zip("ab", sorted(SAMPLES.rglob("*.png")), strict=False):
        shutil.copy(picture, folder / f"{name}.png")
    return folder


def tagged(folder: Path, **options) -> Told:
    told = Told()
    tag.run(TagOptions(**{"folder": folder, "executor": "serial", **options}), told)
    return told


def test_scores_are_written_over_scores_only(pics, tmp_path):
    """C1. Neither a picture nor another program's .jsonl is lost; older scores are replaced."""
    before = (pics / "a.png").read_bytes()
    with pytest.raises(UserError, match=r"a\.png: --scores must end in \.jsonl"):
        tagged(pics, scores=pics / "a.png")
    assert (pics / "a.png").read_bytes() == before
    file = tmp_path / "s.jsonl"
    file.write_text('{"image_path": "a.png", "tags": "mine"}\n')
    with pytest.raises(UserError, match="is there already and was not written by --scores"):
        tagged(pics, scores=file)
    assert "mine" in file.read_text()
    assert not [*pics.glob("*.txt")], "nothing is tagged before that is clear"
    file.unlink()
    tagged(pics, scores=file)
    first = file.read_text()
    assert first.count("\n") == 2
    (pics / "b.png").unlink()
    tagged(pics, scores=file, on_existing="replace")
    assert file.read_text() == first.splitlines(keepends=True)[0]


def test_what_the_tagger_knows_is_told_when_it_looks(pics, tmp_path):
    """C1. Not before a mistake in the folder, nor where nothing is run."""
    told = Told()
    with pytest.raises(UserError, match="there is no such folder"):
        tag.run(TagOptions(folder=tmp_path / "none"), told)
    assert not told.warned
    assert any("drawn avatars only" in text for text in tagged(pics).warned)
    assert not tagged(pics, on_existing="replace").warned, "all pictures are known"
    assert not tagged(pics).warned, "all pictures have captions"


def test_a_caption_is_no_folder(pics):
    """C3. ``caption edit pics/a.txt``."""
    file = pics / "a.txt"
    file.write_text("cat")
    with pytest.raises(UserError, match="is a file, not a folder") as error:
        edit.run(EditOptions(folder=file, add=("x",)), Told())
    assert str(pics) in error.value.remedy


def test_the_command_that_takes_an_edit_back_is_whole(tmp_path):
    """C3. With the folder, quoted, and the ending where undo must be told."""
    folder = tmp_path / "my pics"
    folder.mkdir()
    (folder / "a.png").touch()
    (folder / "a.words").write_text("cat")
    told = Told()
    edit.run(EditOptions(folder=folder, extension=".words", add=("x",)), told)
    command = f"`renma caption undo '{folder}' --extension .words`"
    assert told.lines[-1] == f"1 caption file changed; {command} takes it back"


@pytest.fixture
def sylvie(tmp_path: Path) -> Path:
    for name in "abc":
        (tmp_path / f"{name}.png").touch()
        (tmp_path / f"{name}.txt").write_text("sylvie, 1girl, red hair, smile")
    return tmp_path


def test_a_mistyped_trigger_is_not_applied(sylvie):
    """C5. ``--trigger sylvei`` where all captions begin with sylvie."""
    told = Told()
    maruzen.run(MaruzenOptions(folder=sylvie, trigger="sylvei"), told)
    miss = "no caption has the trigger 'sylvei', but captions have 'sylvie'"
    assert miss in told.warned
    with pytest.raises(UserError, match=miss) as error:
        maruzen.run(MaruzenOptions(folder=sylvie, trigger="sylvei", apply=True), Told())
    assert "--trigger 'sylvie'" in error.value.remedy
    assert (sylvie / "a.txt").read_text() == "sylvie, 1girl, red hair, smile"


@pytest.mark.parametrize(
    ("options", "begins"),
    [
        ({"trigger": "sylvei", "keep": ("sylvie",)}, "sylvei, sylvie, "),
        ({"trigger": "sylvei", "remove": ("sylvie",)}, "sylvei, 1girl"),
        ({"trigger": "aa12"}, "aa12, "),
        ({"trigger": "sylvie"}, "sylvie, 1girl"),
    ],
)
def test_a_trigger_that_is_meant_is_applied(sylvie, options, begins):
    """C5. A word that is no misspelling, or one that the user speaks about."""
    told = Told()
    maruzen.run(MaruzenOptions(folder=sylvie, apply=True, **options), told)
    assert (sylvie / "a.txt").read_text().startswith(begins)
    assert not any("has the trigger" in text for text in told.warned)
