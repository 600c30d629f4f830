"""Fine-tuning with metadata: JSON, JSONL, every way of naming a picture (D3)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from renma.config.data import DataConfig
from renma.core.errors import UserError
from renma.data.folder import Scan, expand, scan
from renma.data.order import Order
from renma.data.summary import summarise

ROWS = {
    "a": {"caption": "a cat", "tags": "red, 1girl"},
    "b": {"tags": "blue"},
    "c": {"caption": "only words", "image_size": [16, 16]},
}


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    (tmp_path / "pics" / "sub").mkdir(parents=True)
    for name in ("a.png", "b.jpg", "c.WEBP", "sub/d.v2.png"):
        Image.new("RGB", (16, 16), "red").save(tmp_path / "pics" / name)
    return tmp_path


def scanned(base: Path, rows, *, name: str = "meta.json", **subset) -> Scan:
    if name.lower().endswith(".jsonl"):
        text = "\n".join(json.dumps({"image_path": key, **row}) for key, row in rows.items())
    else:
        text = json.dumps(rows)
    (base / name).write_text(text)
    data = DataConfig.model_validate(
        {"datasets": [{"subsets": [{"metadata_file": name, "image_dir": "pics", **subset}]}]}
    )
    return scan(expand(data, base), data)


def captions(found: Scan) -> dict[str, str]:
    return {item.path.name: item.caption for item in found.sets[0].items}


EXPECTED = {"a.png": "a cat,red, 1girl", "b.jpg": "blue", "c.WEBP": "only words"}


@pytest.mark.parametrize("name", ["meta.json", "meta.jsonl", "META.JSONL"])
@pytest.mark.parametrize("spelling", ["bare", "ending", "absolute", "windows", "moved"])
def test_a_picture_is_found_however_it_is_named(pictures: Path, name: str, spelling: str):
    """sd-scripts' own merge scripts write bare names that its loader cannot open."""
    files = {"a": "a.png", "b": "b.jpg", "c": "c.WEBP"}
    spell = {
        "bare": lambda stem: stem,
        "ending": lambda stem: files[stem],
        "absolute": lambda stem: str(pictures / "pics" / files[stem]),
        "windows": lambda stem: f".\\{files[stem]}",
        "moved": lambda stem: f"D:\\train\\{files[stem]}",
    }[spelling]
    found = scanned(pictures, {spell(stem): row for stem, row in ROWS.items()}, name=name)
    assert captions(found) == EXPECTED
    assert all(item.captioned for item in found.sets[0].items)
    told = [text for text in found.warnings if "other places" in text]
    assert bool(told) == (spelling == "moved")


def test_paths_may_lead_into_folders_and_hold_dots(pictures: Path):
    found = scanned(pictures, {"sub/d.v2": {"caption": "x"}})
    assert captions(found) == {"d.v2.png": "x"}


def test_without_image_dir_paths_start_at_the_file(pictures: Path):
    found = scanned(pictures / "pics", {"a": {"caption": "x"}}, image_dir="")
    assert captions(found) == {"a.png": "x"}


def test_lines_of_a_caption_are_variants_with_all_tags(pictures: Path):
    rows = {"a": {"caption": "one\ntwo", "tags": "x\ny"}, "b": {"caption": "", "tags": "z"}}
    found = scanned(pictures, rows, enable_wildcard=True)
    assert captions(found) == {"a.png": "one,x,y\ntwo,x,y", "b.jpg": "z"}
    plain = scanned(pictures, rows)
    assert captions(plain)["a.png"] == "one,x,y"
    assert any("only the first is used" in text and "a.png" in text for text in plain.warnings)


def test_an_entry_without_words_takes_the_class_and_is_told(pictures: Path):
    found = scanned(pictures, {"a": {}, "b": {"caption": None}}, class_tokens="sks dog")
    assert set(captions(found).values()) == {"sks dog"}
    assert any(text.startswith("2 pictures in ") for text in found.warnings)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "must hold one object"),
        ('{"a": "x"}', "must hold one object"),
        ("{}", "names no pictures"),
        ('{"z": {}}', "names 'z', which is not in .*pics.*image_dir"),
        ('{"a": {"tags": 3}}', "'tags' of 'a' is no text"),
    ],
)
def test_what_is_no_metadata_is_refused(pictures: Path, text: str, message: str):
    (pictures / "meta.json").write_text(text)
    data = DataConfig.model_validate(
        {"datasets": [{"subsets": [{"metadata_file": "meta.json", "image_dir": "pics"}]}]}
    )
    with pytest.raises(UserError, match=f"meta.json: .*{message}"):
        scan(expand(data, pictures), data)


@pytest.mark.parametrize(
    ("subsets", "message"),
    [
        ([{"metadata_file": "m.json"}, {"image_dir": "pics"}], "has no metadata_file, but another"),
        ([{"metadata_file": "m.json", "is_reg": True}], "regularisation pictures cannot"),
        (
            [{"metadata_file": "m.json", "caption_extension": ".txt"}],
            "caption_extension means nothing",
        ),
        ([{"metadata_file": "none.json"}], "there is no such file"),
        ([{"metadata_file": "pics"}], "is a folder, not a file"),
    ],
)
def test_mixtures_that_protect_nobody_are_refused(pictures: Path, subsets, message: str):
    """D3: no regularisation pictures beside metadata."""
    (pictures / "m.json").write_text("{}")
    data = DataConfig.model_validate({"datasets": [{"subsets": subsets}]})
    with pytest.raises(UserError, match=message):
        expand(data, pictures)


def test_the_method_is_chosen_picture_by_picture(pictures: Path):
    """C6, D3: class tokens only where no caption file lies beside the picture."""
    (pictures / "pics" / "a.txt").write_text("aa12, smile")
    data = DataConfig.model_validate(
        {"datasets": [{"subsets": [{"image_dir": "pics", "class_tokens": "sks cat"}]}]}
    )
    found = captions(scan(expand(data, pictures), data))
    assert found == {"a.png": "aa12, smile", "b.jpg": "sks cat", "c.WEBP": "sks cat"}


def test_a_set_of_metadata_goes_by_the_name_of_its_file(pictures: Path):
    """ss_dataset_dirs and ss_tag_frequency, as sd-scripts' fine-tuning data sets write them."""
    (pictures / "second.jsonl").write_text('{"image_path": "c", "tags": "green, red"}')
    subset = {"metadata_file": "second.jsonl", "image_dir": "pics", "num_repeats": 3}
    (pictures / "meta.json").write_text(json.dumps({"a": ROWS["a"], "b": ROWS["b"]}))
    first = {"metadata_file": "meta.json", "image_dir": "pics"}
    values = {"datasets": [{"subsets": [first, subset]}], "resolution": 64, "enable_bucket": False}
    data = DataConfig.model_validate(values)
    found = scan(expand(data, pictures), data)
    facts = summarise(found, Order(found.sets, 0))
    assert facts["dataset_dirs"] == {
        "meta.json": {"n_repeats": 1, "img_count": 2},
        "second.jsonl": {"n_repeats": 3, "img_count": 1},
    }
    assert facts["tag_frequency"]["second.jsonl"] == {"green": 1, "red": 1}
    assert facts["reg_dataset_dirs"] == {}


def test_one_picture_without_caption_is_one(pictures: Path):
    found = scanned(pictures, {"a": {}, "b": {"tags": "blue"}})
    assert any(
        text.startswith("1 picture in ") and "has no caption" in text for text in found.warnings
    )
