"""Folders, names, captions, and the classic mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from renma.config.data import DataConfig
from renma.core.errors import UserError
from renma.data.folder import expand, scan


def picture(path: Path, size: tuple[int, int] = (40, 30), colour: str = "red") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    return path


def scanned(base: Path, **values):
    data = DataConfig.model_validate(values)
    return scan(expand(data, base), data)


def test_numbered_folders(tmp_path: Path):
    picture(tmp_path / "train" / "10_aa12 person" / "b.png").with_suffix(".txt").write_text(
        "aa12, smile"
    )
    picture(tmp_path / "train" / "10_aa12 person" / "a.PnG")
    picture(tmp_path / "train" / "3_sks_dog" / "c.jpg")
    picture(tmp_path / "reg" / "1_person" / "r.png")
    found = scanned(tmp_path, train_folder="train", reg_folder="reg", keep_tokens=2)
    items = found.sets[0].items
    assert [i.path.name for i in items] == ["a.PnG", "b.png", "c.jpg", "r.png"]
    assert [i.caption for i in items] == ["aa12 person", "aa12, smile", "sks_dog", "person"]
    assert [i.subset.num_repeats for i in items] == [10, 10, 3, 1]
    assert [i.subset.is_reg for i in items] == [False, False, False, True]
    assert all(i.subset.keep_tokens == 2 for i in items)


def test_inner_folder_instead_of_its_parent(tmp_path: Path):
    picture(tmp_path / "train" / "10_aa12" / "a.png")
    with pytest.raises(
        UserError, match=r"10_aa12: is the inner folder.*Give its parent instead: .*train$"
    ):
        scanned(tmp_path, train_folder="train/10_aa12")


@pytest.mark.parametrize(
    ("make", "folder", "message"),
    [
        (lambda p: picture(p / "train" / "a.png"), "train", "holds pictures directly.*10_myname"),
        (lambda p: picture(p / "train" / "aa12" / "a.png"), "train", "no folder named <repeats>_<name>; it has aa12"),
        (lambda p: (p / "train").mkdir(), "train", "it is empty"),
        (lambda p: (p / "train" / "10_x").mkdir(parents=True), "train", "10_x: holds no pictures"),
        (lambda p: None, "trian", "there is no such folder"),
        (lambda p: (p / "train").write_text(""), "train", "is a file, not a folder"),
    ],
)  # fmt: skip
def test_mistakes_with_folders(tmp_path: Path, make, folder: str, message: str):
    make(tmp_path)
    with pytest.raises(UserError, match=message):
        scanned(tmp_path, train_folder=folder)


def test_nothing_given(tmp_path: Path):
    with pytest.raises(UserError, match="train_folder"):
        scanned(tmp_path)


def test_empty_caption_file(tmp_path: Path):
    picture(tmp_path / "train" / "1_x" / "a.png").with_suffix(".txt").write_text(" \n")
    with pytest.raises(UserError, match=r"a.txt: the caption file is empty"):
        scanned(tmp_path, train_folder="train")
    allowed = scanned(tmp_path, train_folder="train", empty_captions="allow")
    assert allowed.sets[0].items[0].caption == ""


def test_broken_picture_stops_or_is_skipped_and_named(tmp_path: Path):
    picture(tmp_path / "train" / "1_x" / "a.png")
    path = picture(tmp_path / "train" / "1_x" / "b.jpg", (200, 200))
    path.write_bytes(path.read_bytes()[:400])
    with pytest.raises(UserError, match=r"b.jpg: is a broken picture"):
        scanned(tmp_path, train_folder="train")
    found = scanned(tmp_path, train_folder="train", bad_pictures="skip")
    assert [i.path.name for i in found.sets[0].items] == ["a.png"]
    assert found.skipped == (str(path),)
    assert any("b.jpg" in text for text in found.warnings)


@pytest.mark.parametrize(
    ("raw", "caption", "warned"),
    [
        ("aa12, 猫".encode(), "aa12, 猫", ""),
        ("﻿aa12".encode(), "aa12", ""),
        ("aa12, 猫".encode("utf-16"), "aa12, 猫", ""),
        ("aa12, 猫".encode("cp932"), "aa12, 猫", "cp932"),
        (b"aa12\r\nsecond", "aa12", "2 lines"),
        (b"\n aa12 ", "aa12", ""),
    ],
)  # fmt: skip
def test_caption_encodings(tmp_path: Path, raw: bytes, caption: str, warned: str):
    picture(tmp_path / "train" / "1_x" / "a.png").with_suffix(".txt").write_bytes(raw)
    found = scanned(tmp_path, train_folder="train")
    assert found.sets[0].items[0].caption == caption
    assert warned in " ".join(found.warnings)
    assert bool(warned) == bool(found.warnings)


def test_no_text_is_refused(tmp_path: Path):
    picture(tmp_path / "train" / "1_x" / "a.png").with_suffix(".txt").write_bytes(
        b"\x81\xff\xff\xfe"
    )
    with pytest.raises(UserError, match="not text in UTF-8"):
        scanned(tmp_path, train_folder="train")


@pytest.mark.parametrize("name", ["日本語 (1)", "[x]*", "😀", "%s -x", "a.b.c", "-n"])
def test_strange_names(tmp_path: Path, name: str):
    picture(tmp_path / "train" / f"2_{name}" / f"{name}.png")
    (tmp_path / "train" / f"2_{name}" / f"{name}.txt").write_text("aa12")
    item = scanned(tmp_path, train_folder="train").sets[0].items[0]
    assert (item.path.stem, item.caption) == (name, "aa12")


def test_options_are_inherited_from_the_nearest_level(tmp_path: Path):
    for name in "abc":
        picture(tmp_path / name / "x.png")
    data = DataConfig.model_validate(
        {
            "num_repeats": 5, "shuffle_caption": True, "resolution": 64, "batch_size": 3,
            "datasets": [
                {"num_repeats": 7, "subsets": [{"image_dir": "a"}, {"image_dir": "b", "num_repeats": 2, "shuffle_caption": False}]},
                {"resolution": [32, 48], "subsets": [{"image_dir": "c"}]},
            ],
        }
    )  # fmt: skip
    one, two = expand(data, tmp_path)
    assert [s.num_repeats for s in (*one.subsets, *two.subsets)] == [7, 2, 5]
    assert [s.shuffle_caption for s in (*one.subsets, *two.subsets)] == [True, False, True]
    assert (one.resolution, two.resolution) == ((64, 64), (32, 48))
    assert (one.batch_size, two.batch_size) == (3, 3)


def test_paths_start_at_the_file_then_at_the_current_folder(tmp_path: Path, monkeypatch):
    picture(tmp_path / "here" / "train" / "1_x" / "a.png")
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "there").mkdir()
    assert scanned(tmp_path / "there", train_folder="train").sets[0].items
    with pytest.raises(UserError, match=r"there/nothing.*nor.*here/nothing"):
        scanned(tmp_path / "there", train_folder="nothing")


def test_both_ways_of_naming_data_are_refused(tmp_path: Path):
    with pytest.raises(UserError, match="both"):
        scanned(tmp_path, train_folder="a", datasets=[{"subsets": [{"image_dir": "b"}]}])


def test_wrong_caption_extension_is_noticed(tmp_path: Path):
    path = picture(tmp_path / "a" / "x.png")
    path.with_suffix(".caption").write_text("aa12")
    found = scanned(tmp_path, datasets=[{"subsets": [{"image_dir": "a"}]}])
    assert any("There are .caption files" in text for text in found.warnings)
