"""The attribute reader: right on the shipped pictures, at any size; captions become labels."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from renma import assets
from renma.core.errors import UserError
from renma.judge.attributes import AttributeReader, Reading, expected, tag_table


@pytest.fixture(scope="module")
def reader() -> AttributeReader:
    return AttributeReader.load()


def training_pictures(name: str) -> tuple[list[Image.Image], list[str]]:
    files = sorted((assets.SAMPLES / name / "train").rglob("*.png"))
    captions = [file.with_suffix(".txt").read_text(encoding="utf-8").strip() for file in files]
    pictures = []
    for file in files:
        with Image.open(file) as picture:
            pictures.append(picture.copy())
    return pictures, captions


@pytest.mark.parametrize("name", ["character", "style"])
def test_every_wanted_attribute_is_read_from_the_sample_set(reader: AttributeReader, name: str):
    pictures, _ = training_pictures(name)
    wanted = json.loads((assets.SAMPLES / name / "about.json").read_text("utf-8"))["attributes"]
    readings = reader.read(pictures)
    assert wanted
    for head, label in wanted.items():
        share = sum(reading[head].label == label for reading in readings) / len(pictures)
        assert share >= 0.95, f"{head} is read as {label} in only {share:.0%}"


def test_captions_of_the_character_say_what_is_seen(reader: AttributeReader):
    pictures, captions = training_pictures("character")
    for reading, caption in zip(reader.read(pictures), captions, strict=True):
        for head, label in expected(caption).items():
            assert reading[head].label == label, f"{caption}: {head}"


@pytest.mark.parametrize("size", [(96, 160), (160, 96), (64, 64), (300, 300), (77, 131)])
def test_any_size_is_read(reader: AttributeReader, size: tuple[int, int]):
    picture = training_pictures("character")[0][0].resize(size, Image.Resampling.LANCZOS)
    (reading,) = reader.read([picture])
    assert set(reading) == set(reader.heads)
    assert reading["hair_colour"].label == "pink"
    assert all(0 < found.probability <= 1 for found in reading.values())


def test_order_is_kept_when_sizes_are_mixed(reader: AttributeReader):
    pictures = training_pictures("character")[0][:3] + training_pictures("style")[0][:2]
    pictures[1] = pictures[1].resize((160, 96))
    styles = [reading["style"].label for reading in reader.read(pictures)]
    assert styles == ["adventurer"] * 3 + ["lorelei"] * 2
    assert reader.read([]) == []


def test_transparent_pictures_are_put_on_white(reader: AttributeReader):
    picture = Image.new("RGBA", (128, 128), (255, 0, 0, 0))
    shown, white = reader.read([picture, Image.new("RGB", (128, 128), "white")])
    assert shown["background"].label == white["background"].label == "white"
    assert isinstance(shown["style"], Reading)


def test_expected_prefers_the_label_with_most_tags():
    caption = "aa12, micah style, person, long hair, wavy hair, red hair, blue clothes, shirt"
    found = expected(caption)
    assert found == {
        "style": "micah",
        "hair": "long hair, wavy hair",
        "hair_colour": "red",
        "clothes": "blue",
    }
    assert "eyewear" not in found


def test_expected_fills_in_the_ordinary_look_on_request():
    found = expected("adventurer style, person, braid, smile", defaults=True)
    assert found["eyewear"] == "no glasses"
    assert found["eyes"] == "open eyes"
    assert found["hair"] == "braid"
    assert expected("sunglasses", defaults=True)["eyewear"] == "sunglasses"
    assert expected("") == {}


def test_heads_of_reader_and_tag_table_agree(reader: AttributeReader):
    assert {head: tuple(labels) for head, labels in tag_table().items()} == reader.heads


def test_missing_reader_is_a_users_mistake(tmp_path: Path):
    with pytest.raises(UserError, match=r"model\.safetensors"):
        AttributeReader.load(tmp_path)
