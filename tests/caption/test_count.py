"""``renma caption count`` and the list of edits (C3: frequency table, undo)."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renma.caption import count, edit, undo
from renma.caption.count import together
from renma.config.caption.count import CountOptions
from renma.config.caption.edit import EditOptions
from renma.config.caption.undo import UndoOptions
from renma.core.events import Silent


class Told(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def event(self, kind: str, **data) -> None:
        self.lines += [data["text"]] if kind == "warned" else []

    def line(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture
def pics(tmp_path: Path) -> Path:
    captions = {"a": "hat, cat\ncat, dog", "b": "hat", "c": "cat, cat", "d": None, "e": "Dog"}
    for name, text in captions.items():
        (tmp_path / f"{name}.png").touch()
        if text is not None:
            (tmp_path / f"{name}.txt").write_text(text)
    return tmp_path


def run(folder: Path, **options) -> list[str]:
    told = Told()
    count.run(CountOptions.model_validate({"folder": folder, **options}), told)
    return told.lines


def test_a_table_of_captions_by_tag(pics):
    assert run(pics) == [
        "1 pictures have no caption and are left alone",
        "4 captions, 4 different tags",
        "      2  50.0% ██████████           cat",
        "      2  50.0% ██████████           hat",
        "      1  25.0% █████                Dog",
        "      1  25.0% █████                dog",
    ]
    assert run(pics, top=1)[2:] == [
        "the 1 most frequent of 4; --top shows more",
        "      2  50.0% ██████████           cat",
    ]
    assert [line.split()[-1] for line in run(pics, sort="alphabet")[2:]] == [
        "cat",
        "Dog",
        "dog",
        "hat",
    ]


def test_what_comes_with_a_tag(pics):
    assert run(pics, **{"with": "hat"})[1:] == [
        "2 of 4 captions have 'hat'",
        "   with  share without   share",
        "      1  50.0%       1   50.0% ██████████           cat",
        "      1  50.0%       0    0.0% ██████████           dog",
    ]
    assert "no caption has 'Hat'; 2 have 'hat'" in run(pics, **{"with": "Hat"})


def test_as_json(pics):
    found = json.loads("\n".join(run(pics, **{"json": True, "with": "hat", "where": "not Dog"})))
    assert found == {
        "captions": 3,
        "without_caption": 1,
        "tags": {"cat": 2, "hat": 2, "dog": 1},
        "with": {
            "tag": "hat",
            "captions": 2,
            "tags": {"cat": {"with": 1, "without": 1}, "dog": {"with": 1, "without": 0}},
        },
    }


@given(st.lists(st.lists(st.sampled_from("abcd")), max_size=6))
def test_together_and_apart_are_all(captions):
    total = Counter(tag for tags in captions for tag in set(tags))
    found = together(captions, "a")
    assert all(both + apart == total[tag] for tag, (both, apart) in found.items())
    assert {*found} == {t for tags in captions if "a" in tags for t in tags} - {"a"}


def test_the_list_of_edits(pics):
    told = Told()
    undo.run(UndoOptions(folder=pics, list=True), told)
    assert told.lines == ["its captions were never edited by renma"]
    edit.run(EditOptions(folder=pics, add=("x",)), told)
    edit.run(EditOptions(folder=pics, remove=("hat",)), told)
    undo.run(UndoOptions(folder=pics), told)
    told.lines.clear()
    undo.run(UndoOptions(folder=pics, list=True), told)
    first, second = told.lines
    assert first.startswith("0001  20")
    assert first.endswith("  edit, 4 files")
    assert second.endswith("  edit, 2 files (undone)")
    undo.run(UndoOptions(folder=pics, redo=True), told)
    assert (pics / "b.txt").read_text() == "x"
