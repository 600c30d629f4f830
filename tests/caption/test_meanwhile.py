"""C1-C4: what others write while a command runs is not lost, in caption files and metadata."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import pytest

from renma.caption import clean, edit, journal, merge, prepend, tag, texts, undo
from renma.config.caption.edit import EditOptions
from renma.config.caption.metadata import CleanOptions, MergeOptions
from renma.config.caption.prepend import PrependOptions
from renma.config.caption.tag import TagOptions
from renma.config.caption.undo import UndoOptions
from renma.core.events import Silent

SAMPLES = Path(str(files("renma") / "assets" / "samples" / "character" / "train"))


class Told:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def event(self, kind: str, **data) -> None:
        if kind == "warned":
            self.lines.append(data["text"])

    def line(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RENMA_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def pics(tmp_path: Path) -> Path:
    folder = tmp_path / "pics"
    folder.mkdir()
    for name, picture in zip("abc", sorted(SAMPLES.rglob("*.png")), strict=False):
        shutil.copy(picture, folder / f"{name}.png")
    return folder


def tagged(folder: Path, **options) -> Told:
    told = Told()
    tag.run(TagOptions(**{"folder": folder, "executor": "serial", **options}), told)
    return told


@pytest.fixture
def during(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Lets somebody act while the tagger looks at pictures."""

    def install(act: Callable[[], object]) -> None:
        look = tag.score

        def both(*args):
            found = look(*args)
            act()
            return found

        monkeypatch.setattr(tag, "score", both)

    return install


def test_a_caption_written_during_tagging_stays(pics, during):
    """C1. --on-existing skip means what is there when captions are written."""
    during(lambda: (pics / "a.txt").write_text("mine\n"))
    told = tagged(pics)
    assert (pics / "a.txt").read_text() == "mine\n"
    assert (pics / "b.txt").exists()
    assert any("meanwhile" in line and "a.txt" in line for line in told.lines)


def test_a_trigger_put_in_during_tagging_stays(pics, during):
    """C4. prepend during tag --on-existing append: the word is first, the tags behind it."""
    for name in "abc":
        (pics / f"{name}.txt").write_text("old\n")
    during(lambda: prepend.run(PrependOptions(folder=pics, word="aa12"), Silent()))
    tagged(pics, on_existing="append")
    for name in "abc":
        text = (pics / f"{name}.txt").read_text()
        assert text.startswith("aa12, old, ")
        assert "person" in text
    undo.run(UndoOptions(folder=pics, steps=2), Silent())
    assert {p.read_text() for p in pics.glob("*.txt")} == {"old\n"}


def test_a_caption_removed_during_tagging_is_written(pics, during):
    (pics / "a.txt").write_text("old\n")
    during(lambda: (pics / "a.txt").unlink())
    tagged(pics, on_existing="append")
    assert not (pics / "a.txt").read_text().startswith("old")


def test_metadata_written_during_tagging_stays(pics, during, tmp_path):
    """C1. An entry that somebody wrote meanwhile is skipped, the other entries are laid over."""
    out = tmp_path / "meta.json"
    out.write_text(json.dumps({"b.png": {"caption": "b"}}))
    new = {"a.png": {"tags": "mine"}, "b.png": {"caption": "better b"}}
    during(lambda: out.write_text(json.dumps(new)))
    tagged(pics, out=out)
    rows = json.loads(out.read_text())
    assert rows["a.png"] == {"tags": "mine"}
    assert rows["b.png"]["caption"] == "better b"
    assert "person" in rows["b.png"]["tags"]
    assert "person" in rows["c.png"]["tags"]


def interfering(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Lets somebody act between reading and writing of an edit."""
    write = journal.write
    left = [act]

    def both(*args, **named):
        if left:
            left.pop()()
        return write(*args, **named)

    monkeypatch.setattr(texts.journal, "write", both)


def test_an_edit_is_made_on_what_stands_there_now(pics, monkeypatch):
    """C3. Between reading and writing somebody changes a caption: nothing of it is lost."""
    for name in "abc":
        (pics / f"{name}.txt").write_text("cat")
    interfering(monkeypatch, lambda: (pics / "b.txt").write_text("dog, cat"))
    edit.run(EditOptions(folder=pics, replace=("cat=hat",)), Told())
    assert [p.read_text() for p in sorted(pics.glob("*.txt"))] == ["hat", "dog, hat", "hat"]


def test_what_does_not_fit_any_more_is_left(pics, monkeypatch):
    for name in "abc":
        (pics / f"{name}.txt").write_text("cat")
    interfering(monkeypatch, lambda: (pics / "b.txt").write_text("dog"))
    told = Told()
    edit.run(EditOptions(folder=pics, add=("x",), where="cat"), told)
    assert [p.read_text() for p in sorted(pics.glob("*.txt"))] == ["cat, x", "dog", "cat, x"]
    assert any("meanwhile" in line and "b.txt" in line for line in told.lines)


def test_metadata_is_edited_as_it_stands_now(tmp_path, monkeypatch):
    file = tmp_path / "meta.json"
    file.write_text(json.dumps({"a": {"tags": "cat"}, "b": {"tags": "cat"}}))
    now = {"a": {"tags": "cat"}, "b": {"tags": ["dog", "cat"]}, "c": {"tags": "new"}}
    interfering(monkeypatch, lambda: file.write_text(json.dumps(now)))
    prepend.run(PrependOptions(folder=file, word="w"), Told())
    rows = json.loads(file.read_text())
    assert rows["a"] == {"tags": "w, cat"}
    assert rows["b"] == {"tags": ["w", "dog", "cat"]}
    assert rows["c"] == {"tags": "new"}, "it was not there when the edit began"


def test_tags_of_metadata_stay_a_list_and_can_be_taken_back(pics, tmp_path):
    """C1, D3. "two, three" is one tag of a list, and stays one."""
    out = tmp_path / "meta.json"
    out.write_text(json.dumps({"a.png": {"tags": ["one", "two, three"]}}))
    before = out.read_bytes()
    tagged(pics, out=out, on_existing="append")
    tags = json.loads(out.read_text())["a.png"]["tags"]
    assert tags[:2] == ["one", "two, three"]
    assert "person" in tags[2:]
    undo.run(UndoOptions(folder=out), Silent())
    assert out.read_bytes() == before


@pytest.mark.parametrize("how", ["replace", "prepend"])
def test_a_list_of_metadata_stays_a_list(pics, tmp_path, how):
    out = tmp_path / "meta.jsonl"
    out.write_text(json.dumps({"image_path": "a.png", "tags": ["one"]}) + "\n")
    tagged(pics, out=out, on_existing=how)
    tags = json.loads(out.read_text().splitlines()[0])["tags"]
    assert isinstance(tags, list)
    assert (tags[-1] == "one") == (how == "prepend")
    assert not any("," in each for each in tags)


def test_merge_and_clean_can_be_taken_back(tmp_path):
    """D3. Every metadata file is written through the journal."""
    folder, out = tmp_path / "pics", tmp_path / "meta.json"
    folder.mkdir()
    (folder / "a.png").touch()
    (folder / "a.txt").write_text("long_hair")
    merge.run(MergeOptions(folder=folder, out=out), Silent())
    merged = out.read_bytes()
    clean.run(CleanOptions(file=out, out=out), Silent())
    assert json.loads(out.read_text())["a.png"]["tags"] == "long hair"
    undo.run(UndoOptions(folder=out), Silent())
    assert out.read_bytes() == merged
    undo.run(UndoOptions(folder=out), Silent())
    assert not out.exists()


def test_merge_keeps_lists_of_metadata(tmp_path):
    """D3. What is a list of tags stays one."""
    folder, out = tmp_path / "pics", tmp_path / "meta.json"
    folder.mkdir()
    (folder / "a.png").touch()
    (folder / "a.txt").write_text("cat, hat")
    out.write_text(json.dumps({"a": {"tags": ["dog"]}}))
    merge.run(MergeOptions(folder=folder, out=out), Silent())
    assert json.loads(out.read_text()) == {"a": {"tags": ["cat", "hat"]}}


def putting(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Lets somebody act after the first file of an edit is written."""
    put, left = journal._put, [act]

    def both(change):
        done = put(change)
        if left:
            left.pop()()
        return done

    monkeypatch.setattr(journal, "_put", both)


def test_a_caption_saved_while_others_are_written_stays(pics, monkeypatch):
    """C3. What is saved between two files of an edit is left, named, and no business of undo."""
    for name in "abc":
        (pics / f"{name}.txt").write_text("cat")
    putting(monkeypatch, lambda: (pics / "c.txt").write_text("mine"))
    told = Told()
    edit.run(EditOptions(folder=pics, add=("x",)), told)
    texts_now = [p.read_text() for p in sorted(pics.glob("*.txt"))]
    assert texts_now == ["cat, x", "cat, x", "mine"]
    assert f"written meanwhile by somebody else, left as they are: {pics / 'c.txt'}." in told.lines
    assert told.lines[-1] == f"2 caption files changed; `renma caption undo {pics}` takes it back"
    assert not [*pics.glob(".*.part")]
    undo.run(UndoOptions(folder=pics), Silent())
    assert [p.read_text() for p in sorted(pics.glob("*.txt"))] == ["cat", "cat", "mine"]


def test_a_caption_saved_while_others_are_brought_back_stays(pics, monkeypatch):
    """C3. The same for undo, and for files that go."""
    for name in "abc":
        (pics / f"{name}.txt").write_text("cat")
    edit.run(EditOptions(folder=pics, add=("x",)), Told())
    putting(monkeypatch, lambda: (pics / "b.txt").write_text("mine"))
    told = Told()
    undo.run(UndoOptions(folder=pics), told)
    assert [p.read_text() for p in sorted(pics.glob("*.txt"))] == ["cat", "mine", "cat"]
    assert told.lines[-1].endswith("2 caption files restored")


def test_an_edit_of_which_nothing_was_written_has_no_journal(tmp_path, monkeypatch):
    """C3. Nothing is there to be undone, and nothing is said to have changed."""
    file = tmp_path / "a.txt"
    file.write_text("cat")
    put = journal._put

    def late(change):
        file.write_text("mine")
        return put(change)

    monkeypatch.setattr(journal, "_put", late)
    for new in ("hat", None):
        file.write_text("cat")
        how = {"diff": False, "dry_run": False}
        assert journal.write(tmp_path, "edit", {file: new}, Silent(), **how) == 0
        assert file.read_text() == "mine"
    assert not [*(tmp_path / ".renma" / "captions").glob("*.jsonl")]
