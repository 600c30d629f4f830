"""C1: `renma caption tag` where something is odd: no tag, a picture gone, a webtoon, Ctrl-C."""

from __future__ import annotations

import json
import shutil
import tracemalloc
from importlib.resources import files
from pathlib import Path

import cv2
import numpy as np
import pytest

from renma.caption import describe, looking, tag
from renma.caption.choose import Opinion, choose
from renma.caption.looking import Spreading
from renma.config.caption.describe import DescribeOptions
from renma.config.caption.tag import TagOptions
from renma.core.errors import INTERRUPTED, Interrupted
from renma.engine.executors import cores
from renma.engine.taggers import _session, wd14
from renma.engine.taggers._base import Tag, find

ASSETS = Path(str(files("renma") / "assets"))


class Told:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.warned: list[str] = []

    def event(self, kind: str, **data) -> None:
        if kind == "warned":
            self.warned.append(data["text"])

    def line(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RENMA_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def pics(tmp_path: Path) -> Path:
    folder = tmp_path / "pics"
    folder.mkdir()
    for name, picture in zip("abc", sorted((ASSETS / "samples").rglob("*.png")), strict=False):
        shutil.copy(picture, folder / f"{name}.png")
    return folder


def tagged(folder: Path, **options) -> Told:
    told = Told()
    tag.run(TagOptions(**{"folder": folder, "executor": "serial", **options}), told)
    return told


@pytest.mark.parametrize("how", ["replace", "append", "skip", "only-empty"])
def test_no_tag_empties_and_makes_no_caption(pics, how):
    """C1. At a threshold that no tag passes everything stays as it is, and is named."""
    (pics / "a.txt").write_text("mine\n")
    told = tagged(pics, on_existing=how, undesired=named(), threshold=1)
    assert {p.name: p.read_text() for p in pics.glob("*.txt")} == {"a.txt": "mine\n"}
    (line,) = [line for line in told.warned if "left as they are" in line]
    assert ("a.png" in line) == (how in ("replace", "append"))
    assert "b.png" in line


def named() -> tuple[str, ...]:
    return tuple(each.name for each in find(None).tags())


def test_no_tag_keeps_an_entry_of_metadata(pics, tmp_path):
    out = tmp_path / "meta.json"
    out.write_text(json.dumps({"a.png": {"tags": "mine"}}))
    tagged(pics, out=out, on_existing="replace", undesired=named())
    assert json.loads(out.read_text()) == {"a.png": {"tags": "mine"}}


def test_a_picture_that_cannot_be_read_is_named_and_the_rest_is_tagged(pics, monkeypatch):
    """F27. Not even its bytes: forbidden, or gone since the folder was listed."""
    read = looking.file_hash

    def refusing(path: Path) -> str:
        if path.name == "a.png":
            raise PermissionError(13, "Permission denied")
        if path.name == "b.png":
            path.unlink()
        return read(path)

    monkeypatch.setattr(looking, "file_hash", refusing)
    told = tagged(pics)
    assert [p.name for p in pics.glob("*.txt")] == ["c.txt"]
    warned = " ".join(told.warned)
    assert "Permission denied): " in warned
    assert "a.png" in warned
    assert "b.png" in warned


def test_ctrl_c_says_that_scores_are_kept(pics, monkeypatch):
    """C1. As `renma prepare` does: one line, exit code 130."""
    monkeypatch.setattr(_session.Session, "probabilities", interrupt)
    with pytest.raises(Interrupted, match="kept") as caught:
        tagged(pics)
    assert caught.value.exit_code == INTERRUPTED
    monkeypatch.setattr(describe, "_look", interrupt)
    monkeypatch.setattr(describe, "way_of", lambda _: None)
    monkeypatch.setattr(describe, "folder_digest", lambda _: "")
    with pytest.raises(Interrupted, match="kept"):
        describe.run(DescribeOptions(folder=pics, model=pics), Told())


def interrupt(*_) -> None:
    raise KeyboardInterrupt


def test_options_that_do_nothing_here_are_told(pics, tmp_path):
    told = tagged(pics, workers=2, dry_run=True)
    assert any("--workers has no effect with --executor serial" in text for text in told.warned)
    told = tagged(pics, out=tmp_path / "m.json", extension=".cap", dry_run=True)
    assert any("--extension has no effect with --out" in text for text in told.warned)
    assert not any("--workers" in text for text in told.warned)
    options = DescribeOptions(folder=pics, model=pics, workers=2)
    assert any("--workers has no effect" in text for text in describe.without_effect(options))


def test_thresholds_of_single_taggers_and_how_they_are_combined():
    """C1. FILE:0.4 counts for its general tags; not for characters, not for mean and max."""
    mine = Opinion((Tag("hat"), Tag("miku", "character")), {0: 0.5, 1: 0.5}, 0.4)
    options = TagOptions(folder=Path(), threshold=0.9, character_threshold=0.6)
    assert [each.tag.name for each in choose([mine], options)] == ["hat"]
    other = Opinion((Tag("hat"),), {0: 0.5}, None)
    for combine, expected in {"union": ["hat"], "intersection": [], "mean": [], "max": []}.items():
        both = TagOptions(folder=Path(), threshold=0.9, combine=combine)
        assert [each.tag.name for each in choose([mine, other], both)] == expected


@pytest.mark.parametrize("combine", ["mean", "max"])
def test_a_threshold_that_combining_ignores_is_told(combine):
    known = [[Tag("hat")], [Tag("hat")]]
    models = ("a.onnx:0.4", "b.onnx")
    options = TagOptions(folder=Path(), model=models, combine=combine)
    text = " ".join(tag.without_effect(options, known, (0.4, None)))
    assert f"--model a.onnx:0.4 has no effect with --combine {combine}" in text
    options = TagOptions(folder=Path(), model=models, combine="union")
    assert not list(tag.without_effect(options, known, (0.4, None)))


def test_a_big_model_is_opened_once_and_a_small_one_in_each_process(tmp_path, monkeypatch):
    """C1. A process a core, each with 1 GB of its own, is no default."""
    many = 10_000
    spreading = Spreading("processes")
    assert spreading.count(many, accelerator=False, size=1_500_000) == cores()
    assert spreading.count(many, accelerator=False, size=400_000_000) == 1
    asked = Spreading("processes", 3)
    assert asked.count(many, accelerator=False, size=400_000_000) == 3
    for name in ("model.onnx", "selected_tags.csv"):
        shutil.copy(ASSETS / "tagger" / name, tmp_path / name)
    tagger = find(str(tmp_path))
    small = tagger.size()
    assert small == (tmp_path / "model.onnx").stat().st_size
    with (tmp_path / "model.onnx.data").open("wb") as weights:
        weights.truncate(300_000_000)  # a hole: takes no room
    assert tagger.size() == small + 300_000_000


@pytest.mark.parametrize("shape", [(16000, 800), (801, 12345), (9001, 30)], ids=str)
def test_a_webtoon_needs_no_square_of_its_longest_side(shape):
    """C1. The numbers are those of the whole square, but for rounding; the memory is bounded."""
    rng = np.random.default_rng(3)
    rgb = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
    tracemalloc.start()
    tensor = wd14.prepare(rgb, 448)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 100e6
    height, width = shape
    longest = max(shape)
    square = np.full((longest, longest, 3), 255, np.uint8)
    above, left = (longest - height) // 2, (longest - width) // 2
    square[above : above + height, left : left + width] = rgb[:, :, ::-1]
    expected = cv2.resize(square, (448, 448), interpolation=cv2.INTER_AREA)
    gap = np.abs(tensor - expected)
    assert gap.max() <= 1
    assert (gap > 0).mean() < 1e-4
