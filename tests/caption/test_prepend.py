"""``renma caption prepend``: the trigger word of every caption (C4)."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from renma.caption import prepend, undo
from renma.config.caption.prepend import PrependOptions
from renma.config.caption.undo import UndoOptions
from renma.core.errors import UserError


class Told:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def event(self, kind: str, **data) -> None:
        if kind == "warned":
            self.lines.append(data["text"])

    def line(self, text: str) -> None:
        self.lines.append(text)


def run(folder: Path, word: str, **options) -> list[str]:
    told = Told()
    prepend.run(PrependOptions.model_validate({"folder": folder, "word": word, **options}), told)
    return told.lines


def filled(folder: Path, texts: dict[str, bytes]) -> Path:
    folder.mkdir(exist_ok=True, parents=True)
    for name, data in texts.items():
        (folder / f"{name}.png").touch()
        (folder / f"{name}.txt").write_bytes(data)
    return folder


@pytest.fixture
def pics(tmp_path: Path) -> Path:
    texts = {
        "first": b"aa12, cat",
        "elsewhere": b"cat, aa12, dog",
        "none": b"cat",
        "longer": b"aa12 cat",
        "empty": b"",
        "lines": b"cat\r\n\r\ndog, aa12\r\n",
        "utf16": "猫".encode("utf-16"),
        "bom": b"\xef\xbb\xbfcat\n",
    }
    (tmp_path / "bare.png").touch()
    return filled(tmp_path, texts)


def texts(folder: Path) -> dict[str, bytes]:
    return {p.stem: p.read_bytes() for p in folder.glob("*.txt")}


def test_the_word_comes_first_wherever_it_was(pics):
    before = texts(pics)
    told = run(pics, "aa12")
    assert texts(pics) == {
        "first": b"aa12, cat",
        "elsewhere": b"aa12, cat, dog",
        "none": b"aa12, cat",
        "longer": b"aa12, aa12 cat",
        "empty": b"aa12",
        "lines": b"aa12, cat\r\n\r\naa12, dog\r\n",
        "utf16": "aa12, 猫".encode(),
        "bom": b"aa12, cat\n",
    }
    assert "had it elsewhere, moves to the front: elsewhere.txt, lines.txt." in told
    assert "1 captions have it in its place, 0 are new" in told
    undo.run(UndoOptions(folder=pics), Told())
    assert texts(pics) == before


def test_pictures_without_a_caption_get_one_only_if_asked(pics):
    assert "1 pictures have no caption and are left alone" in run(pics, "aa12")
    assert not (pics / "bare.txt").exists()
    assert "8 captions have it in its place, 1 are new" in run(pics, "aa12", create=True)
    assert (pics / "bare.txt").read_bytes() == b"aa12\n"
    undo.run(UndoOptions(folder=pics), Told())
    assert not (pics / "bare.txt").exists()


def test_several_words_at_the_end_and_a_condition(pics):
    run(pics, "x, y", append=True, where="dog")
    assert (pics / "elsewhere.txt").read_text() == "cat, aa12, dog, x, y"
    assert (pics / "none.txt").read_text() == "cat"


@pytest.mark.parametrize("word", ["", " , ", "a\nb"])
def test_a_word_that_is_no_tag_is_refused(pics, word):
    before = texts(pics)
    with pytest.raises(UserError, match="WORD: "):
        run(pics, word)
    assert texts(pics) == before


def test_shared_captions_and_captions_alone_are_named(tmp_path):
    folder = filled(tmp_path, {"a": b"cat"})
    (folder / "a.jpg").touch()
    (folder / "alone.txt").write_text("cat")
    (folder / ".hidden").mkdir()
    filled(folder / ".hidden", {"h": b"cat"})
    filled(folder / "in", {"i": b"cat"})
    (folder / "in" / "loop").symlink_to(folder, target_is_directory=True)
    told = run(folder, "w")
    assert any("one caption file for several pictures" in t and "a.jpg" in t for t in told)
    assert any("captions without a picture, left alone" in t and "alone.txt" in t for t in told)
    assert (folder / "a.txt").read_text() == "w, cat"
    assert (folder / "alone.txt").read_text() == "cat"
    assert (folder / ".hidden" / "h.txt").read_text() == "cat"
    assert (folder / "in" / "i.txt").read_text() == "w, cat"


def test_a_caption_that_is_no_text_stops_before_anything_is_written(tmp_path):
    folder = filled(tmp_path, {"a": b"cat", "b": b"\x81\x00\xff"})
    with pytest.raises(UserError, match="b.txt"):
        run(folder, "w")
    assert (folder / "a.txt").read_bytes() == b"cat"


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(UserError, match="holds no pictures"):
        run(tmp_path, "w")


TAG = st.sampled_from(["w", "v", "cat", "w cat", "W"])
LINE = st.lists(TAG, max_size=4).map(", ".join)


@settings(max_examples=25)
@given(st.lists(LINE, min_size=1, max_size=3), st.sampled_from(["w", "w, v"]), st.booleans())
def test_twice_is_once(tmp_path_factory, lines, word, append):
    folder = filled(tmp_path_factory.mktemp("p"), {"a": "\n".join(lines).encode()})
    run(folder, word, append=append)
    once = texts(folder)
    told = run(folder, word, append=append)
    assert texts(folder) == once
    assert "no caption file changes" in told
