"""What the trigger absorbed (row G6): figures by hand, from pictures whose colours are the tags."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from renma.core.errors import UserError
from renma.core.events import Silent
from renma.judge import absorbed
from renma.judge.absorbing import words
from renma.judge.absorbing.audit import Audit, Finding
from renma.judge.absorbing.candidates import Candidate, candidates, class_of, prompt, rows_of
from renma.judge.absorbing.drift import Drift
from renma.judge.absorbing.shares import Share
from renma.judge.folder import RunRecord
from renma.judge.report import tags as report_tags

LORA = Path("lora.safetensors")
SEEDS = 16
STILL = Drift(0.0, 1.0, np.zeros(SEEDS))
LEVELS = {"pink hair": 0, "smile": 1, "short hair": 2}
"""The channel that shows each tag; the base model shows 50 without it and 150 with it."""
TRIGGERED = {
    # pink hair is there without being asked, smile comes when asked, short hair never does
    "": (140, 50, 50),
    "pink hair": (150, 50, 50),
    "smile": (140, 130, 50),
    "short hair": (140, 50, 60),
}


class Painted:
    """Draws one colour a picture: the tags that prompt and LoRA show, and the seed's own bit."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[Any] = []

    def draw(self, asked: Sequence[Any], pictures: int) -> dict[Any, list[Path]]:
        self.asked += asked
        return {one: [self._one(*one, seed) for seed in range(pictures)] for one in asked}

    def _one(self, text: str, who: Path | None, seed: int) -> Path:
        tag = next((tag for tag in LEVELS if tag in text), "")
        level = [50, 50, 50]
        if tag:
            level[LEVELS[tag]] = 150
        if "aa12" in text:
            level = list(TRIGGERED[tag])
        path = self.folder / f"{text}-{who}-{seed}.png"
        red, green, blue = (value + seed % 4 * 5 for value in level)
        Image.new("RGB", (8, 8), (red, green, blue)).save(path)
        return path


class ByColour:
    """Errs less, by a picture's colour, when it is told of the tag that the colour stands for."""

    name = "colours"

    def errors(self, pictures: Sequence[Image.Image], prompts: Sequence[str]) -> np.ndarray:
        rows = self.encode(pictures)
        found = []
        for text in prompts:
            place = next((place for tag, place in LEVELS.items() if tag in text), None)
            told = rows[:, place] - 100 if place is not None else np.zeros(len(rows))
            found.append(1000 - np.stack([told, told / 10], 1))
        return np.stack(found)

    def encode(self, pictures: Sequence[Image.Image]) -> np.ndarray:
        return np.array([picture.getpixel((0, 0)) for picture in pictures], np.float32)


def asked(*tags: str, share: float = 0.0, wanted: bool = False) -> list[Candidate]:
    return [Candidate(tag, share, wanted, "person") for tag in tags]


def found(tmp_path: Path, tags: list[Candidate]) -> tuple[dict[str, Finding], Painted]:
    painted = Painted(tmp_path)
    audit = Audit(painted, ByColour(), ByColour(), Silent(), pictures=SEEDS, seed=1)
    rows = audit.findings(tags, "aa12", LORA)
    return {one.candidate.tag: one for one in rows}, painted


def test_shares_are_those_of_the_colours(tmp_path: Path) -> None:
    """Of the way from 50 to 150, pink hair has gone 90 alone; smile 0, and 80 when asked."""
    rows, _ = found(tmp_path, asked("pink hair", "smile", "short hair"))
    shares = {tag: (one.absorbed, one.answers, one.keeps) for tag, one in rows.items()}
    got = {tag: [round(s.value, 6) for s in three if s] for tag, three in shares.items()}
    assert got == {
        "pink hair": [0.9, 0.1, 1.0], "smile": [0.0, 0.8, 1.0], "short hair": [0.0, 0.1, 1.0]
    }  # fmt: skip
    assert [words.state(rows[tag]) for tag in LEVELS] == ["absorbed", "answers", "silent"]
    assert not any(map(words.changed, rows.values()))
    assert all(one.told == 1.0 for one in rows.values())


def test_a_tag_that_means_nothing_is_not_measured(tmp_path: Path) -> None:
    """The base model draws the same with it: nothing is drawn with the LoRA, no figure is made."""
    rows, painted = found(tmp_path, asked("braid", "smile"))
    assert (rows["braid"].told, rows["braid"].absorbed) == (0.5, None)
    assert words.state(rows["braid"]) == "unknown"
    assert ("person, braid", None) in painted.asked
    assert not [text for text, who in painted.asked if who and "braid" in text]
    said = words.sentences([*rows.values()], "aa12")
    assert said[-1].startswith("braid cannot be measured")
    assert any("cannot be measured" in line for line in words.table([*rows.values()]))


@pytest.mark.parametrize(
    ("share", "wanted", "sentence", "tip"),
    [
        (0.0, True, "stands in no caption", "as intended"),
        (0.0, False, "stands in no caption", "If pink hair is not to come with aa12"),
        (1.0, False, "stands in every caption", "take it out of the captions; if it is to stay"),
        (0.25, False, "though it stands in only 25%", "name it in the caption of every picture"),
    ],
)
def test_advice_follows_the_captions(
    tmp_path: Path, share: float, wanted: bool, sentence: str, tip: str
) -> None:
    rows, _ = found(tmp_path, asked("pink hair", share=share, wanted=wanted))
    said = words.sentences([*rows.values()], "aa12")
    assert said[0].startswith("aa12 brings pink hair along (90 %)")
    assert sentence in said[0]
    (advice,) = words.advice([*rows.values()], "aa12")
    assert tip in advice


def test_a_tag_that_stopped_working_is_told(tmp_path: Path) -> None:
    rows, _ = found(tmp_path, asked("short hair", share=0.5))
    assert "does not answer any more" in words.sentences([*rows.values()], "aa12")[0]
    assert "fused" in words.advice([*rows.values()], "aa12")[0]
    rows, _ = found(tmp_path, asked("smile", wanted=True))
    assert "smile (80 %) still answers" in words.sentences([*rows.values()], "aa12")[0]
    assert "brings only 0 % of it" in words.advice([*rows.values()], "aa12")[0]


def test_a_tag_that_lost_its_meaning_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the trigger, the LoRA draws smile as 60 of 100, and green where it was not."""
    plain = Painted._one

    def worse(self: Painted, text: str, who: Path | None, seed: int) -> Path:
        path = plain(self, text, who, seed)
        if who and "aa12" not in text and "smile" in text:
            bit = seed % 4 * 5
            Image.new("RGB", (8, 8), (50 + bit, 110 + bit, 50 + bit)).save(path)
        return path

    monkeypatch.setattr(Painted, "_one", worse)
    rows, _ = found(tmp_path, asked("smile"))
    smile = rows["smile"]
    assert smile.keeps
    assert smile.keeps.value == pytest.approx(0.6)
    assert words.changed(smile)
    assert any("changed its meaning" in text for text in words.sentences([smile], "aa12"))
    assert any("regularisation" in text for text in words.advice([smile], "aa12"))


def test_what_is_not_sure_is_not_claimed() -> None:
    unsure = Finding(asked("hat")[0], 1.0, 0.0, Share(0.9, 0.4), Share(0.1, 0.1), Share(1.0, 0.1),
                     STILL, STILL)  # fmt: skip
    assert words.state(unsure) == "unsure"
    assert words.sentences([unsure], "aa12") == [
        "Of hat nothing is sure (90 %, give or take 80%): raise --pictures."
    ]
    assert words.advice([unsure], "aa12") == []


def test_the_file_is_what_the_report_reads(finished: Path, tmp_path: Path) -> None:
    rows, _ = found(tmp_path, asked("smile", "pink hair", "braid"))
    record = RunRecord.open(finished)
    checkpoint = record.need_checkpoints()[-1].path
    told = absorbed.result([*rows.values()], record, checkpoint, SEEDS)
    assert told["checkpoint"] == "lora/girl.safetensors"
    assert [row["tag"] for row in told["absorbed"]] == ["pink hair", "smile"]
    assert told["unknown"] == ["braid"]
    (finished / "tags.json").write_text(json.dumps(told))
    read = report_tags.read(finished)
    assert read
    assert (read.trigger, read.absorbed[0].share, read.absorbed[0].answers) == ("aa12", 0.9, 0.1)
    assert (read.sentences, read.advice) == (told["sentences"], told["advice"])


def test_checkpoints_are_named_as_in_grids(finished: Path) -> None:
    record = RunRecord.open(finished)
    names = {"": "girl.safetensors", "last": "girl.safetensors", "10": "girl-step00000010"}
    for text, name in names.items():
        assert absorbed.chosen(record, text).name.startswith(name), text
    best = {"best": "lora/girl-step00000010.safetensors"}
    (finished / "score.json").write_text(json.dumps(best))
    assert absorbed.chosen(record, "").name == "girl-step00000010.safetensors"
    (finished / "score.json").write_text('{"best": null}')
    assert absorbed.chosen(record, "").name == "girl.safetensors"
    for text, what in (("base", "absorbed nothing"), ("all", "several"), ("77", "no checkpoint")):
        with pytest.raises(UserError, match=what):
            absorbed.chosen(record, text)


def test_classes_and_tags_come_from_the_captions() -> None:
    captions = ["aa12, person, smile", "aa12, person, smile", "aa12, person, hat", "aa12, person"]
    rows = rows_of(captions, "aa12")
    assert class_of(rows, ["person, wink"], None) == "person"
    assert class_of([["a"], ["b"]], ["person, smile --n bad", "girl --w 64"], None) == "girl"
    assert class_of(rows, [], "boy,  face") == "boy, face"
    got = candidates(rows, "person", asked=["wink"], removed=["braid"], most=2)
    assert [(one.tag, one.captions, one.wanted, one.around) for one in got] == [
        ("wink", 0.0, False, "person"), ("braid", 0.0, True, "person"),
        ("person", 1.0, False, ""), ("smile", 0.5, False, "person"),
    ]  # fmt: skip
    assert got[1].prompt("aa12", with_tag=True) == "aa12, person, braid"
    assert prompt("saber (fate)", r"a \(b\)") == r"saber \(fate\), a \(b\)"
    with pytest.raises(UserError, match="no tags"):
        candidates(rows_of(["a sentence of far more than six words"], "aa12"), "person")
