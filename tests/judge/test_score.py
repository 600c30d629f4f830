"""Scores: hand-computed shares, the right winner, sentences that follow from the numbers."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from renma.config.judge_task import JudgeOptions
from renma.core.errors import UserError
from renma.judge import score
from renma.judge.folder import Checkpoint, RunRecord
from renma.judge.verdict import Judged, Measured, best_of, standard_error, verdict

WANTED = {"hair": "pink", "skin": "light"}


class ColourReader:
    """Reads the red channel as hair, the green one as skin: above 127 is what was wanted."""

    heads: ClassVar = {"hair": ("pink", "brown"), "skin": ("light", "dark")}

    def read(self, images: Any) -> list[dict[str, Any]]:
        pixels = [image.getpixel((0, 0)) for image in images]
        return [
            {
                "hair": SimpleNamespace(label="pink" if red > 127 else "brown"),
                "skin": SimpleNamespace(label="light" if green > 127 else "dark"),
            }
            for red, green, _ in pixels
        ]


def scenario(cell: Any) -> tuple[int, int, int]:
    """The base shows light skin; step 10 pink hair on the first prompt; step 20 on all prompts."""
    name, prompt = cell.checkpoint.name if cell.checkpoint else "", cell.shot.prompt
    if "step" in name:
        return (255 if prompt == "aa12, smile" else 0, 255, 0)
    return (255 if name else 0, 255, 0)


@pytest.fixture
def judged(finished: Path, painter: Any) -> dict[str, Any]:
    return score.judge(RunRecord.open(finished), painter(scenario), ColourReader())


def test_shares_are_those_of_the_pictures(judged: dict[str, Any], finished: Path) -> None:
    rows = [(r["likeness"], r["leakage"], r["merit"]) for r in judged["checkpoints"]]
    assert rows == [(0.75, 0.5, 0.75), (1.0, 1.0, 0.5)]
    assert (judged["base_likeness"], judged["base_leakage"]) == (0.5, 0.5)
    assert judged["best"] == "lora/girl-step00000010.safetensors"
    assert (judged["likeness"], judged["leakage"]) == (0.75, 0.5)
    hair, skin = judged["attributes"]["hair"], judged["attributes"]["skin"]
    assert hair == {
        "label": "pink", "likeness": 0.5, "leakage": 0.0, "base_likeness": 0.0, "base_leakage": 0.0
    }  # fmt: skip
    assert skin["likeness"] == skin["base_leakage"] == 1.0
    # 8 pictures of shares .5 and 1, half each: stdev .2673, / sqrt(8)
    assert judged["checkpoints"][0]["likeness_error"] == pytest.approx(0.0945, abs=1e-4)
    assert judged["pictures"] == {"trigger": 8, "class": 4}
    assert (judged["seconds"], judged["peak_memory_mib"], judged["seed"]) == (75.0, 512.0, 42)
    assert json.loads(json.dumps(judged)) == judged
    with Image.open(finished / "score.png") as picture:
        assert picture.width > 4 * 128


def test_all_checkpoints_and_the_base_share_their_noise(finished: Path, painter: Any) -> None:
    fake = painter(scenario)
    score.judge(RunRecord.open(finished), fake, ColourReader())
    noise: dict[Any, list[Any]] = {}
    for cell in fake.asked:
        noise.setdefault(cell.checkpoint, []).append((cell.shot.prompt, cell.shot.seed))
    first, *others = noise.values()
    assert len(noise) == 3
    assert all(other == first for other in others)
    assert len({seed for _, seed in first}) == 8
    plain = [seed for prompt, seed in first if prompt == "person, smile"]
    assert plain == [seed for prompt, seed in first if prompt == "aa12, smile"]


def test_nothing_is_invented_where_nothing_can_be_read(
    finished: Path, lines: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(score, "open_painter", lambda *_: pytest.fail("no model is needed"))
    toml = finished / "run.toml"
    text = toml.read_text()
    for change, reason in (
        (text.replace('{ hair = "pink", skin = "light" }', "{}"), "nobody said what to look for"),
        (text + '[model]\npath = "/models/other"\n', "another model"),
    ):
        toml.write_text(change)
        score.run(JudgeOptions(folder=finished), lines)
        result = json.loads((finished / "score.json").read_text())
        numbers = ("likeness", "leakage", "base_likeness", "base_leakage", "best")
        assert all(result[name] is None for name in numbers)
        assert result["checkpoints"] == []
        assert result["verdict"][0].startswith("Not scored: ")
        assert reason in lines.lines[-2]
        assert result["seconds"] == 75.0


@pytest.mark.parametrize(
    ("written", "said"),
    [('{ hairs = "pink" }', "Did you mean 'hair'"), ('{ hair = "pinc" }', "Did you mean 'pink'")],
)
def test_what_nobody_can_read_is_named(
    finished: Path, painter: Any, written: str, said: str
) -> None:
    toml = finished / "run.toml"
    toml.write_text(toml.read_text().replace('{ hair = "pink", skin = "light" }', written))
    fake = painter()
    with pytest.raises(UserError, match=said):
        score.judge(RunRecord.open(finished), fake, ColourReader())
    assert not fake.asked


def one(step: int, likeness: list[float], leakage: list[float] | None) -> Judged:
    def measured(shares: list[float]) -> Measured:
        mean = sum(shares) / len(shares)
        return Measured(tuple(shares), {"hair": mean, "skin": mean})

    file = Checkpoint(Path(f"{step}.safetensors"), step, f"step {step}") if step else None
    return Judged(file, measured(likeness), None if leakage is None else measured(leakage))


def say(tried: list[Judged], base: Judged, reg: int = 0) -> str:
    return " ".join(verdict(tried, base, WANTED, reg))


BASE = one(0, [0.1, 0.1, 0.1, 0.1], [0.0, 0.1, 0.1, 0.2])


def test_a_good_lora() -> None:
    text = say([one(1, [0.9, 1, 0.9, 0.88], [0.1, 0.2, 0.1, 0.04])], BASE)
    assert text.startswith(
        "The trigger brings back 92 % of the attributes; without the trigger they appear in "
        "11 % (base model 10 %)."
    )
    assert "does not leak" in text
    assert "4 pictures" in text
    for word in ("Best", "rising", "Weakest", "hardly", "regularisation"):
        assert word not in text


def test_leaks_are_named_with_the_fitting_advice() -> None:
    tried = [one(1, [1.0] * 4, [0.9, 0.8, 0.9, 1.0])]
    assert "80 points above the base model: add regularisation pictures" in say(tried, BASE)
    assert "more regularisation pictures" in say(tried, BASE, reg=24)
    # a large but uncertain difference is no leak
    unsure = [one(1, [1.0] * 4, [0.0, 0.0, 0.0, 1.0])]
    assert "does not leak" in say(unsure, BASE)


def test_under_and_over_trained_runs_are_called_so() -> None:
    steps = [one(i, [0.2 * i] * 4, [0.1] * 4) for i in (1, 2, 3)]
    assert "still rising (40 % to 60 %" in say(steps, BASE)
    assert "step 3 of 3" in say(steps, BASE)
    late = [one(1, [0.9] * 4, [0.1] * 4), one(2, [0.5] * 4, [0.1] * 4)]
    assert "step 2 is 40 points worse: over-trained" in say(late, BASE)
    assert "rising" not in say(late, BASE)
    flat = [one(1, [0.9] * 4, [0.1] * 4), one(2, [0.9] * 4, [0.1] * 4)]
    assert "step 1 of 2" in say(flat, BASE)
    assert "hardly learnt" in say([one(1, [0.1, 0.1, 0.2, 0.1], [0.1] * 4)], BASE)


def test_missing_class_prompts_and_single_pictures_are_said() -> None:
    text = say([one(1, [0.9], None)], one(0, [0.1], None))
    assert "Leakage was not measured" in text
    assert "single picture" in text
    assert "does not leak" not in text


def test_weak_attributes_are_named() -> None:
    assert "Weakest: hair pink (50 %), skin light (50 %)." in say(
        [one(1, [0.5] * 4, [0.1] * 4)], BASE
    )


def test_standard_error_by_hand() -> None:
    assert standard_error([1.0]) is None
    assert standard_error([0.0, 1.0]) == pytest.approx(0.5)


SHARES = st.lists(st.integers(0, 4).map(lambda n: n / 4), min_size=3, max_size=3)


@given(st.lists(st.tuples(SHARES, SHARES), min_size=1, max_size=6))
def test_best_has_the_highest_merit_and_is_the_earliest_such(rows: list[Any]) -> None:
    tried = [one(i + 1, like, leak) for i, (like, leak) in enumerate(rows)]
    base = one(0, [0.0] * 3, [0.5] * 3)
    merits = [sum(like) / 3 - max(0.0, sum(leak) / 3 - 0.5) for like, leak in rows]
    best = best_of(tried, base)
    place = tried.index(best)
    assert merits[place] == pytest.approx(max(merits))
    assert all(merit < merits[place] + 1e-9 for merit in merits)
    assert all(merit < merits[place] - 1e-12 for merit in merits[:place])
