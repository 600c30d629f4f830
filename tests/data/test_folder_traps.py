"""What lies in real folders beside pictures and captions, and odd caption files."""

from __future__ import annotations

import os
import sys
import unicodedata
from pathlib import Path

import pytest
from PIL import Image

from renma.config.data import DataConfig
from renma.core.errors import UserError
from renma.data.folder import Scan, expand, scan


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (16, 16), "red").save(path)
    return path


def scanned(base: Path, **values) -> Scan:
    data = DataConfig.model_validate(values or {"train_folder": "train"})
    return scan(expand(data, base), data)


def caption_of(base: Path, raw: bytes, **values) -> str:
    picture(base / "train" / "1_x" / "a.png").with_suffix(".txt").write_bytes(raw)
    return scanned(base, train_folder="train", **values).sets[0].items[0].caption


def test_what_is_not_used_is_named(tmp_path: Path):
    for name in ("10_good/a.png", "plain/b.png", "0_zero/c.png", "d.png", ".hidden/e.png"):
        picture(tmp_path / "train" / name)
    found = scanned(tmp_path)
    assert [i.path.name for i in found.sets[0].items] == ["a.png"]
    told = "\n".join(found.warnings)
    for name in ("plain", "0_zero", "d.png"):
        assert name in told
    assert ".hidden" not in told
    assert "10_good" not in told


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ("aa12, 猫".encode("utf-16")[:-1], "a.txt: "),
        ("aa12, cat".encode("utf-16-le"), "zero bytes"),
        (b"\x00\x01\x02", "zero bytes"),
        (b" , ,,\n", "empty"),
    ],
    ids=["utf-16 cut off", "utf-16 without mark", "binary", "only commas"],
)
def test_files_without_a_caption_are_refused_by_name(tmp_path: Path, raw: bytes, message: str):
    with pytest.raises(UserError, match=r"a\.txt.*" if message == "a.txt: " else message):
        caption_of(tmp_path, raw)


def test_only_line_ends_end_a_line(tmp_path: Path):
    assert caption_of(tmp_path, "aa12\u2028b, c\x0cd".encode()) == "aa12\u2028b, c\x0cd"
    assert caption_of(tmp_path, b"one\rtwo\r\nthree") == "one"


def test_only_commas_can_be_allowed(tmp_path: Path):
    assert caption_of(tmp_path, b",,", empty_captions="allow") == ""


def test_a_caption_in_capital_ending_or_decomposed_name_is_found(tmp_path: Path):
    name = "が é"
    picture(tmp_path / "train" / "1_x" / f"{unicodedata.normalize('NFC', name)}.png")
    written = unicodedata.normalize("NFD", name)
    (tmp_path / "train" / "1_x" / f"{written}.TXT").write_text("aa12")
    assert scanned(tmp_path).sets[0].items[0].caption == "aa12"


def test_the_exact_caption_name_wins(tmp_path: Path):
    path = picture(tmp_path / "train" / "1_x" / "a.png")
    path.with_suffix(".TXT").write_text("loud")
    path.with_suffix(".txt").write_text("exact")
    assert scanned(tmp_path).sets[0].items[0].caption == "exact"


@pytest.mark.parametrize("extension", [".", "", ".wd14.txt", "-tags.txt"])
def test_any_caption_extension(tmp_path: Path, extension: str):
    picture(tmp_path / "a" / "x.y.png")
    ending = extension if extension.startswith(".") or not extension else f".{extension}"
    (tmp_path / "a" / f"x.y{ending}").write_text("aa12")
    found = scanned(
        tmp_path, datasets=[{"subsets": [{"image_dir": "a", "caption_extension": extension}]}]
    )
    assert found.sets[0].items[0].caption == "aa12"


def test_one_folder_twice_in_a_data_set_counts_once(tmp_path: Path):
    picture(tmp_path / "a" / "x.png")
    twice = [{"image_dir": "a", "num_repeats": 3}, {"image_dir": "./a"}]
    found = scanned(tmp_path, datasets=[{"subsets": twice}])
    assert [i.subset.num_repeats for i in found.sets[0].items] == [3]
    assert any("twice" in text for text in found.warnings)
    sizes = [{"resolution": r, "subsets": [{"image_dir": "a"}]} for r in (64, 128)]
    assert [len(s.items) for s in scanned(tmp_path, datasets=sizes).sets] == [1, 1]


@pytest.mark.parametrize("name", ["", "  "])
def test_an_unnamed_folder_is_not_the_current_one(tmp_path: Path, name: str):
    picture(tmp_path / "x.png")
    with pytest.raises(UserError, match="names no folder"):
        scanned(tmp_path, datasets=[{"subsets": [{"image_dir": name}]}])


def test_a_parent_given_as_picture_folder(tmp_path: Path):
    picture(tmp_path / "train" / "10_aa12" / "x.png")
    with pytest.raises(UserError, match="only folders of pictures.*train_folder"):
        scanned(tmp_path, datasets=[{"subsets": [{"image_dir": "train"}]}])


def test_repeats_of_regularisation_pictures_are_told_to_be_without_effect(tmp_path: Path):
    picture(tmp_path / "train" / "2_a" / "x.png")
    picture(tmp_path / "reg" / "5_p" / "x.png")
    told = scanned(tmp_path, train_folder="train", reg_folder="reg").warnings
    assert any("num_repeats has no effect" in text and "5_p" in text for text in told)


def test_animations_and_dead_links_are_told(tmp_path: Path):
    folder = tmp_path / "train" / "1_x"
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    folder.mkdir(parents=True)
    frames[0].save(folder / "moving.gif", save_all=True, append_images=frames[1:])
    (folder / "gone.png").symlink_to("nowhere.png")
    (folder / "loop.png").symlink_to("loop.png")
    (folder / "self").symlink_to(folder)
    found = scanned(tmp_path)
    assert [i.path.name for i in found.sets[0].items] == ["moving.gif"]
    told = "\n".join(found.warnings)
    assert all(name in told for name in ("moving.gif", "gone.png", "loop.png"))


def test_many_equal_oddities_make_one_line(tmp_path: Path):
    for index in range(40):
        path = picture(tmp_path / "train" / "1_x" / f"{index:02}.png")
        path.with_suffix(".txt").write_text("a\nb")
    told = [text for text in scanned(tmp_path).warnings if "2 lines" in text]
    assert len(told) == 1
    assert "and 35 more" in told[0]


def test_a_linked_folder_keeps_its_own_name(tmp_path: Path):
    picture(tmp_path / "elsewhere" / "x.png")
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "4_cat").symlink_to(tmp_path / "elsewhere")
    item = scanned(tmp_path).sets[0].items[0]
    assert (item.path.parent.name, item.subset.num_repeats) == ("4_cat", 4)


@pytest.mark.skipif(sys.platform != "linux", reason="only there names are plain bytes")
@pytest.mark.parametrize("name", [b"\xff.png", b"a\nb.png"])
def test_what_is_told_can_be_written_anywhere(tmp_path: Path, name: bytes):
    folder = tmp_path / "train" / "1_x"
    picture(folder / "fine.png")
    (folder / os.fsdecode(name)).write_bytes(b"broken")
    found = scanned(tmp_path, train_folder="train", bad_pictures="skip")
    assert len(found.skipped) == 1
    for text in (*found.skipped, *found.warnings):
        assert "\n" not in text
        text.encode("utf-8")
    with pytest.raises(UserError) as caught:
        scanned(tmp_path)
    caught.value.line().encode("utf-8")
