"""C1: `renma caption tag` from a folder of pictures to captions; nothing is run twice."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from renma.caption import tag
from renma.config.caption.tag import TagOptions
from renma.core.errors import Interrupted, UserError
from renma.engine.taggers import _session
from renma.judge.attributes import AttributeReader, as_tensor, tag_table

SAMPLES = Path(str(files("renma") / "assets" / "samples"))
ASSET = Path(str(files("renma") / "assets" / "tagger"))
HIDDEN = {"eyes": ("eyewear", "sunglasses"), "hair_colour": ("hair", "bald")}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test knows what another one's models said."""
    monkeypatch.setenv("RENMA_CACHE", str(tmp_path / "cache"))


class Told:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.warned: list[str] = []

    def event(self, kind: str, **data) -> None:
        if kind == "warned":
            self.warned.append(data["text"])

    def line(self, text: str) -> None:
        self.lines.append(text)

    @property
    def counted(self) -> str:
        return next(line for line in self.lines if " known" in line)


def brightness(folder: Path, names: list[str], channels: tuple[int, ...]) -> str:
    """A WD14 tagger whose tags say how blue, green or red the picture is on average, 0 to 1."""
    nodes = [
        helper.make_node("ReduceMean", ["input", "places"], ["mean"], keepdims=0),
        helper.make_node("Div", ["mean", "most"], ["share"]),
        helper.make_node("Gather", ["share", "order"], ["predictions"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "brightness",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 32, 32, 3])],
        [helper.make_tensor_value_info("predictions", TensorProto.FLOAT, ["N", len(names)])],
        [
            numpy_helper.from_array(np.array([1, 2], np.int64), "places"),
            numpy_helper.from_array(np.array(255, np.float32), "most"),
            numpy_helper.from_array(np.array(channels, np.int64), "order"),
        ],
    )
    folder.mkdir(parents=True)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, folder / "model.onnx")
    rows = "".join(f"{i},{name}\n" for i, name in enumerate(names))
    (folder / "selected_tags.csv").write_text(f"tag_id,name,category,count\n{rows}")
    return str(folder)


@pytest.fixture
def model(tmp_path: Path) -> str:
    names = ["safe,9,1", "bold,9,1", "very_blue,0,1", "green,0,1", "red_(colour),4,1"]
    return brightness(tmp_path / "colours", names, (1, 2, 0, 1, 2))


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Red 0.9; green 0.5 and blue 0.6; everything."""
    folder = tmp_path / "pics"
    (folder / "inner").mkdir(parents=True)
    for name, colour in {"a": (230, 0, 0), "b": (0, 128, 153), "inner/c": (255, 255, 255)}.items():
        Image.new("RGB", (40, 40), colour).save(folder / f"{name}.png")
    return folder


def tagged(folder: Path, model: str | tuple[str, ...], **options) -> Told:
    told = Told()
    models = (model,) if isinstance(model, str) else model
    given = {"executor": "serial", "on_existing": "replace", **options}
    tag.run(TagOptions(folder=folder, model=models, **given), told)
    return told


def captions(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).with_suffix("").as_posix(): path.read_text().strip()
        for path in folder.rglob("*.txt")
    }


def test_tags_are_written_beside_pictures_of_all_folders(pictures, model):
    told = tagged(pictures, model)
    expected = {
        "a": "red (colour)",
        "b": "very blue, green",
        "inner/c": "very blue, green, red (colour)",
    }
    assert captions(pictures) == expected
    assert told.counted == "colours: 3 pictures, 3 run, 0 known"


def test_other_thresholds_run_nothing(pictures, model, monkeypatch):
    """C1. Scores are kept: thresholds, spelling and formats are applied to them."""
    tagged(pictures, model)
    monkeypatch.setattr(_session, "opened", lambda *_: pytest.fail("the model was opened again"))
    told = tagged(pictures, model, threshold=0.55, underscores="keep", character_threshold=0.95)
    assert captions(pictures) == {
        "a": "red (colour)",  # nothing is said of it
        "b": "very_blue",
        "inner/c": "very_blue, green, red_(colour)",
    }
    assert told.counted.endswith("0 run, 3 known")


def test_a_killed_run_goes_on_where_it_was(pictures, model, monkeypatch):
    """C1. Stopped after two pictures, continued: each picture is run exactly once."""
    ran: list[int] = []
    answer = _session.Session.probabilities

    def counting(self, batch):
        if len(ran) == 2:
            raise KeyboardInterrupt
        ran.append(len(batch))
        return answer(self, batch)

    monkeypatch.setattr(_session.Session, "probabilities", counting)
    with pytest.raises(Interrupted, match="scores so far are kept"):
        tagged(pictures, model, batch=1)
    assert captions(pictures) == {}
    monkeypatch.setattr(_session.Session, "probabilities", answer)
    told = tagged(pictures, model, batch=1)
    assert told.counted.endswith("1 run, 2 known")
    assert len(captions(pictures)) == 3


def test_two_processes_say_the_same(pictures, model):
    """C1. Work spread over processes gives what one process gives."""
    told = tagged(pictures, model, executor="processes", workers=2, batch=1)
    assert told.counted.endswith("3 run, 0 known")
    spread = captions(pictures)
    other = pictures.with_name("other")
    pictures.rename(other)
    assert tagged(other, model).counted.endswith("0 run, 3 known")  # and moving changes nothing
    assert captions(other) == spread


def test_another_model_or_list_is_run_anew(pictures, model, tmp_path):
    tagged(pictures, model)
    csv = Path(model) / "selected_tags.csv"
    csv.write_text(csv.read_text().replace("green", "leafy"))
    assert tagged(pictures, model).counted.endswith("3 run, 0 known")
    assert "leafy" in captions(pictures)["b"]


EXISTING = {
    "skip": {"a": "mine, very blue", "b": "", "inner/c": "very blue, green, red (colour)"},
    "only-empty": {"a": "mine, very blue", "b": "very blue, green", "inner/c": "very blue, green, red (colour)"},
    "replace": {"a": "red (colour)", "b": "very blue, green", "inner/c": "very blue, green, red (colour)"},
    "append": {"a": "mine, very blue, red (colour)", "b": "very blue, green", "inner/c": "very blue, green, red (colour)"},
    "prepend": {"a": "red (colour), mine, very blue", "b": "very blue, green", "inner/c": "very blue, green, red (colour)"},
}  # fmt: skip


@pytest.mark.parametrize(("how", "expected"), EXISTING.items(), ids=EXISTING)
@pytest.mark.parametrize("times", [1, 2])
def test_what_happens_to_captions_that_are_there(pictures, model, how, expected, times):
    """Doing it twice is doing it once."""
    (pictures / "a.txt").write_text("mine, very blue\n")
    (pictures / "b.txt").write_text(" \n")
    for _ in range(times):
        tagged(pictures, model, on_existing=how)
    assert captions(pictures) == expected


def test_dry_run_writes_nothing_but_shows(pictures, model):
    (pictures / "a.txt").write_text("mine\n")
    told = tagged(pictures, model, dry_run=True, diff=True)
    assert captions(pictures) == {"a": "mine"}
    assert "  - mine" in told.lines
    assert "  + red (colour)" in told.lines


def test_metadata_of_sd_scripts_instead_of_files(pictures, model, tmp_path):
    """C1. --out meta.json: entries stay, tags are laid over them."""
    out = tmp_path / "meta.json"
    out.write_text(json.dumps({"a": {"caption": "a thing", "tags": "old"}}))
    tagged(pictures, model, out=out)
    rows = json.loads(out.read_text())
    assert rows["a"] == {"caption": "a thing", "tags": "red (colour)"}
    assert rows["inner/c.png"]["tags"] == "very blue, green, red (colour)"
    assert captions(pictures) == {}


def test_scores_for_people(pictures, model, tmp_path):
    file = tmp_path / "scores.jsonl"
    tagged(pictures, model, scores=file)
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert [row["picture"] for row in rows] == ["a.png", "b.png", "inner/c.png"]
    expected = {"very_blue": 153 / 255, "safe": 128 / 255, "green": 128 / 255}
    assert rows[1]["scores"] == pytest.approx(expected, abs=1e-4)
    assert rows[1]["model"] == "colours"


def test_a_broken_picture_is_named_and_the_rest_is_tagged(pictures, model):
    (pictures / "bad.png").write_bytes(b"no picture")
    told = tagged(pictures, model)
    assert len(captions(pictures)) == 3
    (warning,) = told.warned
    assert "bad.png" in warning
    assert told.counted == "colours: 4 pictures, 3 run, 0 known"


def test_two_taggers_are_put_together(pictures, model, tmp_path):
    """C1. They agree on names in spite of underscores; the second has a threshold of its own."""
    other = brightness(tmp_path / "other", ["very blue,0,1", "dark,0,1"], (0, 0))
    tagged(pictures, (model, f"{other}:0.99"), combine="union")
    assert captions(pictures)["b"] == "very blue, green"
    assert captions(pictures)["inner/c"] == "very blue, green, red (colour), dark"
    tagged(pictures, (model, f"{other}:0.99"), combine="intersection")
    kept = {"a": "red (colour)", "b": "very blue, green"}  # nothing is said of them
    assert captions(pictures) == {**kept, "inner/c": "very blue"}


def test_options_without_effect_are_told(pictures, model):
    told = tagged(
        pictures, model, combine="max", quality="first", undesired=("very blu",), replace=("x=y",),
        always_first=("y",), category_threshold=("copyright=0.5",),
    )  # fmt: skip
    text = " ".join(told.warned)
    for part in (
        "--combine",
        "--quality",
        "--undesired very blu",
        "'very blue'",
        "--replace x",
        "copyright=0.5",
    ):
        assert part in text
    assert "--always-first" not in text


def test_frequency_report_and_summary(pictures, model):
    told = tagged(pictures, model, frequency=True)
    assert "2  green" in told.lines
    assert "3 different tags; most often green 2, red (colour) 2, very blue 2" in told.lines


def test_mistakes_in_options_are_refused():
    for wrong in ({"category_threshold": ("hair=0.5",)}, {"replace": ("a",)}, {"threshold": 0.0}):
        with pytest.raises(ValueError, match=r"hair=0\.5|is not OLD=NEW|0\.01"):
            TagOptions(folder=Path(), **wrong)
    with pytest.raises(UserError, match="threshold lies between"):
        tag.run(TagOptions(folder=Path(), model=("m.onnx:7",)), Told())


def readings(reader: AttributeReader, picture: Image.Image) -> dict[str, float]:
    """Tag to chance as the attribute reader sees it: the sum over labels, computed here."""
    import torch

    with torch.no_grad():
        out = {h: v.softmax(1)[0].tolist() for h, v in reader.net(as_tensor(picture)[None]).items()}
    shown = {
        head: 1 - out[other][reader.heads[other].index(label)]
        for head, (other, label) in HIDDEN.items()
    }
    found = {"person": max(out["style"])}
    for head, chances in out.items():
        for label, chance in zip(reader.heads[head], chances, strict=True):
            for word in filter(None, map(str.strip, tag_table()[head][label].split(","))):
                found[word] = found.get(word, 0) + chance * shown.get(head, 1)
    found.pop("no clothes")
    return found


def test_shipped_tagger_says_what_the_attribute_reader_says(tmp_path):
    """C1. On all sample pictures: the same tags wherever the reader is sure, close numbers else."""
    reader, told = AttributeReader.load(), Told()
    pictures = sorted(SAMPLES.rglob("*.png"))
    tag.run(
        TagOptions(
            folder=SAMPLES,
            scores=tmp_path / "s.jsonl",
            dry_run=True,
            on_existing="replace",
            executor="serial",
        ),
        told,
    )
    assert any("drawn avatars only" in text and "WD14" in text for text in told.warned)
    rows = {
        row["picture"]: row["scores"]
        for row in map(json.loads, (tmp_path / "s.jsonl").read_text().splitlines())
    }
    names = [
        line.split(",")[1].replace("_", " ")
        for line in (ASSET / "selected_tags.csv").read_text().splitlines()[1:]
    ]
    gaps = []
    for path in pictures:
        expected = readings(reader, Image.open(path))
        assert set(expected) == set(names)
        given = {
            name.replace("_", " "): value
            for name, value in rows[path.relative_to(SAMPLES).as_posix()].items()
        }
        sure = {name for name, value in expected.items() if value >= 0.9}
        out = {name for name, value in expected.items() if value <= 0.1}
        assert sure <= {name for name, value in given.items() if value >= 0.35}
        assert not out & {name for name, value in given.items() if value >= 0.35}
        gaps += [abs(given.get(name, 0) - value) for name, value in expected.items()]
    assert len(pictures) == 62
    assert np.mean(gaps) < 0.006


def test_shipped_tagger_on_the_character_sample(tmp_path):
    """C1. Every tag of the true captions and no other: trigger aside, the character's own added."""
    folder = SAMPLES / "character" / "train"
    out = tmp_path / "meta.json"
    told = Told()
    tag.run(TagOptions(folder=folder, out=out, executor="serial"), told)
    own = {"braid", "glasses", "pink hair", "tan skin"}
    for name, row in json.loads(out.read_text()).items():
        true = {t.strip() for t in (folder / name).with_suffix(".txt").read_text().split(",")}
        assert {t.strip() for t in row["tags"].split(",")} == (true - {"aa12"}) | own
    assert len(json.loads(out.read_text())) == 14
