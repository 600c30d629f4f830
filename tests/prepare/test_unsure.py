"""B6: where the network for people is unsure, that is said and recorded, and originals are counted."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from renma.config.prepare.background import BackgroundOptions
from renma.core.events import Silent
from renma.prepare import background
from renma.prepare._facts import counted, facts
from renma.prepare.subject._sure import SURE, sureness, warn_of_unsure


class Told(Silent):
    """A report that keeps its warnings."""

    def __init__(self) -> None:
        self.warned: list[str] = []

    def event(self, kind: str, **data: object) -> None:
        if kind == "warned":
            self.warned.append(str(data["text"]))


def test_a_cup_is_no_person_and_that_is_said(tmp_path: Path):
    """B6: a photograph of a cup gives scraps; one of a person does not, and is not named."""
    spec = importlib.util.find_spec("skimage")
    assert spec is not None
    assert spec.origin is not None
    for name in ("coffee", "astronaut"):
        with Image.open(Path(spec.origin).parent / "data" / f"{name}.png") as picture:
            whole = picture.convert("RGB")
        (tmp_path / "in").mkdir(exist_ok=True)
        whole.save(tmp_path / "in" / f"{name}.png", compress_level=1)
    told = Told()
    options = BackgroundOptions(folder=tmp_path / "in", out=tmp_path / "out", executor="serial")
    background.run(options, told)
    text = "no person was seen surely in: coffee.png; bring a network for things with --model"
    assert text in told.warned
    found = {each["source"]: each for each in facts(tmp_path / "out")}
    assert found["astronaut.png"]["sure"] > SURE > found["coffee.png"].get("sure", 0)


def test_a_plain_ground_needs_no_person(tmp_path: Path):
    """B6: what alpha or a plain ground tells is not doubted."""
    picture = Image.new("RGB", (64, 64), "white")
    ImageDraw.Draw(picture).ellipse((16, 16, 48, 48), fill="navy")
    (tmp_path / "in").mkdir()
    picture.save(tmp_path / "in" / "a.png")
    told = Told()
    options = BackgroundOptions(folder=tmp_path / "in", out=tmp_path / "out", executor="serial")
    background.run(options, told)
    assert told.warned == []


def test_many_unsure_pictures_make_one_line():
    """B6."""
    told = Told()
    rows = [{"source": f"{n}.png", "sure": 0.5} for n in range(5)]
    warn_of_unsure([*rows, {"source": "0.png", "sure": 0.4}, {"source": "x", "sure": 0.9}], told)
    (line,) = told.warned
    assert "0.png, 1.png, 2.png and 2 more;" in line


@pytest.mark.parametrize(("values", "wanted"), [([0.5, 0.7, 0.1], 0.6), ([0.2], 0.0), ([1.0], 1.0)])
def test_sureness_is_the_mean_of_what_is_taken(values, wanted):
    assert sureness(np.array([values], np.float32)) == wanted


def test_originals_are_counted_and_not_what_was_made_of_them(tmp_path: Path):
    """B2: three parts of a body are three pictures of one original."""
    (tmp_path / ".renma").mkdir()
    rows = [
        {"source": f"{n}.png", "outputs": [{"facts": {"backend": backend}}] * 3}
        for n, backend in enumerate(["alpha", "alpha", "grabcut"])
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / ".renma" / "made.jsonl").write_text(text)
    found = facts(tmp_path)
    assert len(found) == 9
    assert counted(found, "backend") == "2 alpha, 1 grabcut"
