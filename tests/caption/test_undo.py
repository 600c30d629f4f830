"""C3: undo takes back what it is asked for, nothing else, and nothing outside its folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from renma.caption import edit, journal, prepend, undo
from renma.caption.journal_file import history
from renma.config.caption.edit import EditOptions
from renma.config.caption.prepend import PrependOptions
from renma.config.caption.undo import UndoOptions
from renma.core.errors import UserError
from renma.core.events import Silent


class Told(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def line(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Captions outside and inside, and metadata beside them."""
    (tmp_path / "in").mkdir()
    for name in ("a", "in/b"):
        (tmp_path / f"{name}.png").touch()
        (tmp_path / f"{name}.txt").write_text("cat")
    (tmp_path / "meta.json").write_text('{"a": {"tags": "cat"}}')
    (tmp_path / "other.json").write_text('{"a": {"tags": "cat"}}')
    return tmp_path


def put(place: Path, word: str) -> None:
    prepend.run(PrependOptions(folder=place, word=word), Silent())


def undone(place: Path, **options) -> list[str]:
    told = Told()
    undo.run(UndoOptions.model_validate({"folder": place, **options}), told)
    return told.lines


def test_undo_of_metadata_leaves_other_edits_alone(place):
    meta = place / "meta.json"
    put(meta, "w")
    put(place / "other.json", "v")
    put(place, "x")
    assert [line.split()[2] for line in undone(meta, list=True)] == ["prepend,"]
    undone(meta)
    assert json.loads(meta.read_text()) == {"a": {"tags": "cat"}}
    assert (place / "a.txt").read_text() == "x, cat"
    assert json.loads((place / "other.json").read_text()) == {"a": {"tags": "v, cat"}}
    with pytest.raises(UserError, match="no edit"):
        undone(meta)
    undone(meta, redo=True)
    assert json.loads(meta.read_text()) == {"a": {"tags": "w, cat"}}
    undone(place)
    assert (place / "a.txt").read_text() == "cat"


def test_undo_of_metadata_that_is_gone_brings_it_back(place):
    meta = place / "meta.json"
    put(meta, "w")
    meta.unlink()
    undone(meta, force=True)
    assert json.loads(meta.read_text()) == {"a": {"tags": "cat"}}


def test_one_caption_file_cannot_be_undone_alone(place):
    put(place, "w")
    with pytest.raises(UserError, match=r"a\.txt: .*[Gg]ive the folder"):
        undone(place / "a.txt")
    assert (place / "a.txt").read_text() == "w, cat"
    with pytest.raises(UserError, match="no such"):
        undone(place / "nothing")


def test_edits_of_a_folder_above_or_below_are_named(place):
    put(place / "in", "w")
    for options in ({}, {"list": True}):
        said = " ".join(undone(place, **options)) if options else str(refused(place))
        assert f"renma caption undo {place / 'in'}" in said
    undone(place / "in")
    put(place, "w")
    (place / "sub").mkdir()
    assert f"renma caption undo {place}" in str(refused(place / "sub"))


def refused(place: Path, **options) -> UserError:
    with pytest.raises(UserError) as caught:
        undone(place, **options)
    assert "never" not in str(caught.value)
    return caught.value


def test_a_later_edit_of_an_inner_folder_is_not_somebody_else(place):
    put(place, "w")
    put(place / "in", "x")
    said = str(refused(place))
    assert "somebody else" not in said
    assert f"renma caption undo {place / 'in'}" in said
    assert (place / "in" / "b.txt").read_text() == "x, w, cat"
    undone(place / "in")
    undone(place)
    assert (place / "in" / "b.txt").read_text() == "cat"


def test_a_later_edit_of_the_whole_folder_is_named_too(place):
    put(place / "in", "x")
    put(place, "w")
    said = str(refused(place / "in"))
    assert "somebody else" not in said
    assert f"renma caption undo {place}" in said


def forged(folder: Path, name: str) -> Path:
    """A journal that came with somebody's pictures."""
    (folder / "a.txt").write_text("cat")
    edits = {folder / "a.txt": "hat"}
    journal.write(folder, "edit", edits, Silent(), diff=False, dry_run=False)
    file = history(folder)[0].file
    head = file.read_text().splitlines()[0]
    file.write_text(f"{head}\n{json.dumps({'file': name, 'old': 'harm', 'new': None})}\n")
    return file


def test_a_journal_reaches_nothing_through_a_link(tmp_path):
    """A linked folder inside the pictures leads anywhere."""
    outside, folder = tmp_path / "outside", tmp_path / "pics"
    outside.mkdir()
    folder.mkdir()
    (folder / "link").symlink_to(outside, target_is_directory=True)
    forged(folder, "link/x.txt")
    with pytest.raises(UserError, match="no journal of captions"):
        journal.undo(folder, Silent(), force=True)
    assert not list(outside.iterdir())


@pytest.mark.parametrize("name", ["run.py", ".bashrc", "a.png", "x", ".txt", "in/.git/config"])
def test_a_journal_reaches_captions_and_metadata_only(tmp_path, name):
    forged(tmp_path, name)
    with pytest.raises(UserError, match=r"0001-edit\.jsonl"):
        journal.undo(tmp_path, Silent(), force=True)
    assert not (tmp_path / name).exists()


def test_captions_of_another_ending_are_undone_when_it_is_named(tmp_path):
    (tmp_path / "a.png").touch()
    (tmp_path / "a.cap").write_text("cat")
    edit.run(EditOptions(folder=tmp_path, extension=".cap", add=("x",)), Silent())
    with pytest.raises(UserError, match=r"--extension \.cap"):
        undone(tmp_path)
    undone(tmp_path, extension="cap")
    assert (tmp_path / "a.cap").read_text() == "cat"


def test_a_folder_that_is_a_link_itself_is_edited_and_undone(tmp_path):
    real = tmp_path / "real"
    real.mkdir()
    (real / "a.png").touch()
    (real / "a.txt").write_text("cat")
    (tmp_path / "link").symlink_to(real, target_is_directory=True)
    put(tmp_path / "link", "w")
    undone(tmp_path / "link")
    assert (real / "a.txt").read_text() == "cat"


def test_a_journal_that_is_no_text_is_one_line(tmp_path):
    forged(tmp_path, "a.txt").write_bytes(b"\xff\xfe{")
    with pytest.raises(UserError, match=r"0001-edit\.jsonl"):
        undone(tmp_path)


def test_redo_takes_the_branch_that_was_undone_last(place):
    for word in ("one", "two"):
        put(place, word)
    undone(place, steps=2)  # what is undone before a newer edit stays so
    for word in ("three", "four"):
        put(place, word)
    undone(place, steps=2)
    for wanted in ("three, cat", "four, three, cat"):
        undone(place, redo=True)
        assert (place / "a.txt").read_text() == wanted
    with pytest.raises(UserError, match="no edit"):
        undone(place, redo=True)


def test_journals_of_older_versions_are_done_again_in_their_order(place):
    for word in ("one", "two"):
        put(place, word)
    undone(place, steps=2)
    for past in history(place):
        head, _, rest = past.file.read_text().partition("\n")
        old = {key: value for key, value in json.loads(head).items() if key != "after"}
        past.file.write_text(f"{json.dumps(old)}\n{rest}")
    undone(place, redo=True, steps=2)
    assert (place / "a.txt").read_text() == "two, one, cat"


def test_redo_of_metadata_passes_over_edits_of_others(place):
    meta = place / "meta.json"
    put(place, "x")
    put(meta, "w")
    put(place / "other.json", "v")
    undone(meta)
    undone(meta, redo=True)
    assert json.loads(meta.read_text()) == {"a": {"tags": "w, cat"}}
    assert json.loads((place / "other.json").read_text()) == {"a": {"tags": "v, cat"}}
