"""Every edit can be taken back, byte for byte, whatever interrupts it (C3: undo)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import given, settings
from hypothesis import strategies as st

from renma.caption import journal
from renma.caption.journal_file import PLACE, history
from renma.core.errors import UserError
from renma.core.events import Silent

OLD = {
    "a.txt": b"cat, hat\r\n",
    "b.txt": "青".encode("cp932"),
    "c.txt": b"\xff\xfec\0",
    "in/d.txt": b"",
}
NEW = {"a.txt": "cat", "b.txt": "青", "c.txt": None, "in/d.txt": "x", "e.txt": "new"}


class Told(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def line(self, text: str) -> None:
        self.lines.append(text)


def filled(folder: Path) -> Path:
    for name, data in OLD.items():
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        (folder / name).write_bytes(data)
    return folder


def state(folder: Path) -> dict[str, bytes]:
    files = (p for p in folder.rglob("*") if p.is_file() and ".renma" not in p.parts)
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in files}


def write(folder: Path, changes: dict, told: Silent | None = None, **how) -> int:
    paths = {folder / name: text for name, text in changes.items()}
    return journal.write(
        folder, "edit", paths, told or Silent(), **{"diff": False, "dry_run": False, **how}
    )


AFTER = {name: text.encode() for name, text in NEW.items() if text is not None}


def test_files_are_written_as_utf8_and_brought_back(tmp_path):
    folder = filled(tmp_path)
    assert write(folder, NEW) == 5
    assert state(folder) == AFTER
    assert write(folder, NEW) == 0
    assert len(history(folder)) == 1
    assert journal.undo(folder, Silent()) == 5
    assert state(folder) == OLD
    assert journal.redo(folder, Silent()) == 5
    assert state(folder) == AFTER


def test_a_try_writes_nothing_and_says_the_same_count(tmp_path):
    folder, told = filled(tmp_path), Told()
    assert write(folder, NEW, told, dry_run=True, diff=True) == 5
    assert state(folder) == OLD
    assert not (folder / ".renma").exists()
    assert told.lines == [
        "a.txt", "  - cat, hat", "  + cat",
        "b.txt is written as UTF-8, its text stays",
        "c.txt (removed)", "  - c",
        "in/d.txt", "  + x", "e.txt (new)", "  + new",
        "5 caption files would change; nothing is written",
    ]  # fmt: skip


def test_a_caption_cannot_give_orders_to_the_terminal(tmp_path):
    told = Told()
    write(tmp_path, {"a.txt": "\x1b[2J"}, told, diff=True)
    assert "  + \\x1b[2J" in told.lines


class Killed(BaseException):
    pass


def kill_at(monkeypatch, count: int) -> None:
    """Ends whatever runs at the ``count``-th renaming, from 0; nothing is tidied up."""
    rename, calls = os.replace, iter(range(10_000))

    def replace(*args):
        if next(calls) == count:
            raise Killed
        rename(*args)

    monkeypatch.setattr(os, "replace", replace)


@pytest.mark.parametrize("count", range(6))
def test_a_kill_at_any_renaming_leaves_what_undo_brings_back(tmp_path, monkeypatch, count):
    """The journal's own renaming is the first, then those of the four files that are written."""
    folder = filled(tmp_path)
    with monkeypatch.context() as patch:
        kill_at(patch, count)
        if count < 5:
            with pytest.raises(Killed):
                write(folder, NEW)
        else:
            write(folder, NEW)
    for name, data in state(folder).items():
        if not name.endswith(".part"):
            assert data in (OLD.get(name), AFTER.get(name))
    parts = list(folder.rglob("*.part"))
    for part in parts:  # as old as those that are swept
        os.utime(part, (0, 0))
    if count == 0:
        with pytest.raises(UserError, match="no edit"):
            journal.undo(folder, Silent())
    else:
        journal.undo(folder, Silent())
    assert {n: d for n, d in state(folder).items() if not n.endswith(".part")} == OLD
    write(folder, NEW)
    assert state(folder) == AFTER, "and nothing of the killed edit is left"


@pytest.mark.parametrize("count", range(8))
def test_a_killed_undo_goes_on(tmp_path, monkeypatch, count):
    folder = filled(tmp_path)
    write(folder, NEW)
    write(folder, {"a.txt": "dog", "f.txt": "f"})
    with monkeypatch.context() as patch:
        kill_at(patch, count)
        with suppress(Killed):
            journal.undo(folder, Silent(), steps=2)
    for part in folder.rglob("*.part"):
        part.unlink()
    left = sum(not past.undone for past in history(folder))
    if left:
        journal.undo(folder, Silent(), steps=left)
    assert state(folder) == OLD


def test_a_process_killed_for_good_leaves_no_lock(tmp_path):
    folder = filled(tmp_path)
    code = (
        "import os, sys; from pathlib import Path\n"
        "from renma.caption import journal; from renma.core.events import Silent\n"
        "rename, calls = os.replace, []\n"
        "os.replace = lambda *a: (calls.append(a), os._exit(9)) if len(calls) == 2 else (calls.append(a), rename(*a))\n"
        "folder = Path(sys.argv[1])\n"
        "journal.write(folder, 'edit', {folder / 'a.txt': 'x', folder / 'b.txt': 'y'}, Silent(), diff=False, dry_run=False)\n"
    )
    run = subprocess.run([sys.executable, "-c", code, str(folder)], check=False)
    assert run.returncode == 9
    found = state(folder)
    assert (found["a.txt"], found["b.txt"]) == (b"x", OLD["b.txt"])
    assert journal.undo(folder, Silent()) == 1
    for part in folder.glob(".*.part"):
        part.unlink()
    assert state(folder) == OLD


def test_undo_refuses_what_somebody_else_changed(tmp_path):
    folder = filled(tmp_path)
    write(folder, NEW)
    (folder / "a.txt").write_text("mine")
    (folder / "b.txt").unlink()
    (folder / "e.txt").unlink()  # as it was before the edit: that is no trouble
    before = state(folder)
    with pytest.raises(UserError, match=r"changed since by somebody else: a.txt, b.txt.*--force"):
        journal.undo(folder, Silent())
    assert state(folder) == before
    journal.undo(folder, Silent(), force=True)
    assert state(folder) == OLD


def test_only_so_many_edits_can_be_undone(tmp_path):
    with pytest.raises(UserError, match="never edited"):
        journal.undo(tmp_path, Silent())
    assert not (tmp_path / ".renma").exists()
    write(tmp_path, {"a.txt": "1"})
    with pytest.raises(UserError, match="1 edit can be undone, 2 asked for"):
        journal.undo(tmp_path, Silent(), steps=2)
    journal.undo(tmp_path, Silent())
    with pytest.raises(UserError, match="no edit of its captions can be undone"):
        journal.undo(tmp_path, Silent())
    write(tmp_path, {"a.txt": "2"})
    with pytest.raises(UserError, match="was undone last"):  # a newer edit stands in between
        journal.redo(tmp_path, Silent())


def test_two_at_a_time_are_refused(tmp_path):
    write(tmp_path, {"a.txt": "1"})
    with FileLock(tmp_path / PLACE / "lock"), pytest.raises(UserError, match="another renma"):
        write(tmp_path, {"a.txt": "2"})
    assert state(tmp_path) == {"a.txt": b"1"}


@pytest.mark.parametrize("name", ["../x.txt", "/etc/x", "a/../../x.txt", None, 3])
def test_a_journal_from_elsewhere_reaches_no_file_outside(tmp_path, name):
    """A folder of pictures may come with a journal somebody forged."""
    folder = tmp_path / "pics"
    write(folder_of(folder), {"a.txt": "1"})
    file = history(folder)[0].file
    head, row = file.read_text().splitlines()
    forged = {**json.loads(row), "file": name, "new": None, "old": "harm"}
    file.write_text(f"{head}\n{json.dumps(forged)}\n")
    with pytest.raises(UserError, match="no journal of captions"):
        journal.undo(folder, Silent(), force=True)
    assert [p.name for p in tmp_path.iterdir()] == ["pics"]


def folder_of(path: Path) -> Path:
    path.mkdir()
    return path


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"kind": "other"}', '{"kind": "renma captions"}\n{"file": "a.txt"}']
)
def test_a_damaged_journal_is_one_line(tmp_path, text):
    write(tmp_path, {"a.txt": "1"})
    file = history(tmp_path)[0].file
    file.write_text(text)
    with pytest.raises(UserError, match=r"0001-edit.jsonl"):
        journal.undo(tmp_path, Silent())
    assert state(tmp_path) == {"a.txt": b"1"}


def test_names_that_are_no_text_come_back(tmp_path):
    name = os.fsdecode(b"\xff.txt")
    try:
        (tmp_path / name).write_bytes(b"1")
    except OSError:
        pytest.skip("this file system takes text names only")
    write(tmp_path, {name: "2"}, diff=True)
    journal.undo(tmp_path, Silent())
    assert (tmp_path / name).read_bytes() == b"1"


def test_what_cannot_be_written_says_how_far_it_got(tmp_path):
    folder = filled(tmp_path)
    (folder / "z.txt").mkdir()
    with pytest.raises(UserError, match="z.txt: cannot be read"):
        write(folder, {"a.txt": "x", "z.txt": "y"})
    assert state(folder) == OLD
    with pytest.raises(UserError, match="no text: surrogates not allowed"):
        write(folder, {"a.txt": "\ud800"})


CONTENT = st.one_of(st.none(), st.binary(max_size=6), st.text(max_size=6).map(str.encode))
EDIT = st.dictionaries(
    st.sampled_from(["a.txt", "b.txt", "in/c.txt"]),
    st.one_of(st.none(), st.text(st.characters(exclude_categories=["Cs"]), max_size=6)),
)


@settings(max_examples=40)
@given(st.lists(CONTENT, min_size=3, max_size=3), st.lists(EDIT, max_size=4), st.data())
def test_undo_restores_bytes_after_any_edits(contents, changes, data):
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "in").mkdir()
        for name, content in zip(["a.txt", "b.txt", "in/c.txt"], contents, strict=True):
            if content is not None:
                (folder / name).write_bytes(content)
        states = [state(folder)]
        for change in changes:
            states += [state(folder)] if write(folder, change) else []
        steps = data.draw(st.integers(0, len(states) - 1))
        if steps:
            journal.undo(folder, Silent(), steps)
        assert state(folder) == states[-1 - steps]
        if steps:
            journal.redo(folder, Silent(), steps)
        assert state(folder) == states[-1]
