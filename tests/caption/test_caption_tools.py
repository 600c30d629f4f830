"""Metadata made of caption files, and cleaned (D3)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from renma.caption import clean, merge
from renma.caption.clean import clean_caption, clean_tags
from renma.caption.metadata import changes, dump
from renma.config.caption.metadata import CleanOptions, MergeOptions
from renma.config.data import DataConfig
from renma.core.errors import UserError
from renma.data.folder import expand, scan


class Told:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def event(self, kind: str, **data) -> None:
        if kind == "warned":
            self.lines.append(data["text"])

    def line(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pics"
    (folder / "inner").mkdir(parents=True)
    for name in ("a", "b", "c", "inner/d"):
        Image.new("RGB", (8, 8)).save(folder / f"{name}.png")
    (folder / "a.caption").write_text("a cat\nanother cat\n")
    (folder / "a.txt").write_text("cat, long_hair\n")
    (folder / "b.txt").write_text("dog")
    (folder / "inner" / "d.txt").write_text("bird")
    return tmp_path


def merged(base: Path, name: str = "meta.json", **options) -> tuple[dict, list[str]]:
    told = Told()
    out = base / name
    merge.run(MergeOptions(folder=base / "pics", out=out, **options), told)
    text = out.read_text()
    rows = [json.loads(line) for line in text.splitlines()] if name.endswith("l") else None
    found = {row.pop("image_path"): row for row in rows} if rows else json.loads(text)
    return found, told.lines


ROWS = {
    "a.png": {"caption": "a cat\nanother cat", "tags": "cat, long_hair"},
    "b.png": {"tags": "dog"},
}


@pytest.mark.parametrize("name", ["meta.json", "meta.jsonl"])
def test_caption_files_become_metadata(pictures: Path, name: str):
    found, told = merged(pictures, name)
    assert found == ROWS
    assert any("1 pictures have no caption file" in line for line in told)
    assert "2 of 2 pictures change" in told


def test_what_merge_writes_is_what_training_reads(pictures: Path):
    for options in ({"recursive": True}, {"recursive": True, "full_path": True}):
        merged(pictures, **options)
        (pictures / "meta.json").touch()
        subset = {"metadata_file": "meta.json", "image_dir": "pics", "enable_wildcard": True}
        data = DataConfig.model_validate({"datasets": [{"subsets": [subset]}]})
        items = scan(expand(data, pictures), data).sets[0].items
        assert {i.path.stem: i.caption for i in items} == {
            "a": "a cat,cat, long_hair\nanother cat,cat, long_hair",
            "b": "dog",
            "d": "bird",
        }
        (pictures / "meta.json").unlink()


def test_metadata_that_is_there_is_extended(pictures: Path):
    """Also where its names have no ending, as sd-scripts writes them."""
    old = {
        "b": {"caption": "kept", "tags": "old"},
        "z.png": {"tags": "kept too", "image_size": [1, 2]},
    }
    (pictures / "meta.json").write_text(json.dumps(old))
    found, _ = merged(pictures)
    assert list(found) == ["b", "z.png", "a.png"]
    assert found["b"] == {"caption": "kept", "tags": "dog"}
    assert found["z.png"] == old["z.png"]
    (pictures / "other.json").write_text(json.dumps({"q": {}}))
    found, _ = merged(pictures, into=pictures / "other.json")
    assert set(found) == {"q", "a.png", "b.png"}


def test_only_what_is_asked_for_is_read(pictures: Path):
    found, _ = merged(pictures, tags="")
    assert found == {"a.png": {"caption": "a cat\nanother cat"}}


def test_a_try_writes_nothing_and_shows_every_change(pictures: Path):
    told = Told()
    out = pictures / "meta.json"
    merge.run(MergeOptions(folder=pictures / "pics", out=out, dry_run=True, diff=True), told)
    assert not out.exists()
    assert "b.png tags" in told.lines
    assert "  + dog" in told.lines
    assert "  + a cat / another cat" in told.lines
    assert told.lines[-1] == "2 of 2 pictures change; nothing is written"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"folder": "nowhere"}, "there is no such folder"),
        ({"captions": ".x", "tags": ".y"}, r"has no \.x or \.y files.*--captions or --tags"),
        ({"out": "meta.txt"}, "-o must end in .json or .jsonl"),
        ({"out": "photos.zip", "folder": "nowhere"}, "photos.zip: -o must end in .json or .jsonl"),
        ({"into": "none.json"}, "none.json: there is no such file"),
        ({"folder": "empty"}, "holds no pictures"),
    ],
)
def test_mistakes_are_one_line(pictures: Path, options: dict, message: str, monkeypatch):
    monkeypatch.chdir(pictures)
    (pictures / "empty").mkdir()
    with pytest.raises(UserError, match=message):
        merge.run(
            MergeOptions.model_validate({"folder": "pics", "out": "m.json", **options}), Told()
        )
    assert not (pictures / "m.json").exists()


def test_clean_changes_tags_and_keeps_the_rest(tmp_path: Path):
    rows = {
        "a": {
            "tags": "1girl, long_hair, ^_^, rating:safe, 0.3",
            "caption": "a cartoon woman",
            "image_size": [8, 8],
        },
        "b": {"caption": "x"},
    }
    (tmp_path / "meta.json").write_text(json.dumps(rows))
    told = Told()
    options = {"file": tmp_path / "meta.json", "out": tmp_path / "clean.json"}
    clean.run(CleanOptions.model_validate({**options, "diff": True}), told)
    found = json.loads((tmp_path / "clean.json").read_text())
    assert found == {"a": {**rows["a"], "tags": "1girl, long hair, ^_^"}, "b": rows["b"]}
    assert told.lines[:3] == [
        "a tags", "  - 1girl, long_hair, ^_^, rating:safe, 0.3", "  + 1girl, long hair, ^_^",
    ]  # fmt: skip
    clean.run(CleanOptions.model_validate({**options, "captions": "girl"}), told)
    assert json.loads((tmp_path / "clean.json").read_text())["a"]["caption"] == "a girl"


@pytest.mark.parametrize(
    ("tags", "kept"),
    [
        ("shirt, white shirt, skirt", "white shirt, skirt"),
        ("hair, long hair", "long hair"),
        ("t shirt, white t shirt", "t shirt, white t shirt"),  # two words stay
        ("1girl, long hair, blue eyes, red eyes", "1girl, long hair, blue eyes, red eyes"),
        ("2girls, blue eyes, red eyes, hat", "2girls, hat"),
        ("2girls, blue eyes, hat", "2girls, blue eyes, hat"),
        ("2boys, long hair, short hair", "2boys"),
        ("2girls, long hair, red hair, blonde hair", "2girls, long hair"),
        ("2girls, long hair, red hair", "2girls, long hair, red hair"),
        ("2girls, long sleeves, sleeveless", "2girls"),
        ("2girls, ponytail, twintails, two side up", "2girls"),
        ("a_b, a b", "a b"),
    ],
)
def test_rules_for_tags(tags: str, kept: str):
    assert clean_tags(tags.split(", ")) == kept.split(", ")


def test_a_kept_tag_survives_every_rule():
    tags = ["2girls", "blue eyes", "red eyes", "shirt", "white shirt", "rating:s", "score_9"]
    found = clean_tags(tags, keep=("red eyes", "shirt", "score 9"))
    assert found == ["2girls", "red eyes", "shirt", "white shirt", "score 9"]


TAG = st.sampled_from(
    [
        "1girl",
        "2girls",
        "boys",
        "long_hair",
        "short hair",
        "red eyes",
        "eyes",
        "^_^",
        "a ^_^ b",
        "x_y",
        "shirt",
        "big shirt",
    ]
)


@given(st.lists(TAG, max_size=12))
def test_cleaning_invents_nothing_and_is_done_once(tags: list[str]):
    found = clean_tags(tags)
    assert set(found) <= {clean_tags([tag])[0] for tag in tags}
    assert len(set(found)) == len(found)
    assert clean_tags(found) == found


def test_words_for_anime():
    assert clean_caption("a young anime anime woman and a cartoon character") == "a girl and a girl"
    assert clean_caption("two people, one person") == "two girls, one girl"
    assert clean_caption("a cartoon picture of a cat") == "a picture of a cat"


@given(
    st.dictionaries(
        st.text(min_size=1), st.dictionaries(st.sampled_from(["caption", "tags"]), st.text())
    )
)
def test_what_is_written_is_what_there_is(rows):
    assert json.loads(dump(rows, Path("x.json"))) == rows
    assert list(changes(rows, rows)) == []
