"""G4: the verdict at the head of the page and the table of scores, old and new."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from renma.core.errors import UserError
from renma.judge import report
from renma.judge.folder import RunRecord
from renma.judge.report import scores
from renma.judge.report.scores import Scores
from renma.judge.scoring import choice
from renma.judge.scoring.measure import Scores as Measured
from testbed import judged_run
from testbed.html_page import Page

FIRST, LAST = "lora/girl-step00000010.safetensors", "lora/girl.safetensors"


def make(folder: Path) -> Page:
    return Page(report.write_report(folder).read_text(encoding="utf-8"))


def read(folder: Path) -> Scores:
    found = scores.read(RunRecord.open(folder))
    assert found
    return found


def rows(scores: Scores) -> dict[str, list[str]]:
    return {row.label: [cell.text for cell in row.cells] for row in scores.rows}


def write_old(folder: Path, **changes: Any) -> None:
    """Writes what renma 0.1 wrote."""
    row = {"label": "step 10", "path": FIRST, "step": 10, "likeness": 0.9, "leakage": 0.1,
           "likeness_error": 0.05, "leakage_error": None, "merit": 0.85}  # fmt: skip
    late = row | {
        "label": "last (step 20)",
        "path": LAST,
        "step": 20,
        "likeness": 0.8,
        "merit": 0.7,
    }
    result = {
        "likeness": 0.923, "leakage": 0.11, "base_likeness": 0.3, "base_leakage": 0.08,
        "best": FIRST, "checkpoints": [row, late], "verdict": ["Splendid.", "Second."],
        "attributes": {"hair": {"label": "pink", "likeness": 1.0, "leakage": None,
                                "base_likeness": 0.0, "base_leakage": 0.0}},
        "pictures": {"trigger": 8, "class": 8},
    } | changes  # fmt: skip
    (folder / "score.json").write_text(json.dumps(result))


def test_the_verdict_names_the_best_file(finished: Path) -> None:
    judged_run.write(finished)
    page = make(finished)
    head = page.text.split("Scores")[1].split("Curves")[-1]
    best = finished / FIRST
    for text in (
        "Over-trained", "Use step 10.", "step 10", FIRST, f"{best.stat().st_size} bytes",
        hashlib.sha256(best.read_bytes()).hexdigest(), "Confidence 82 %", "best/girl.safetensors",
        "Runner-up", LAST, "Step 20 leaks.", "What to do next", "Stop at 10, or set",
    ):  # fmt: skip
        assert text in page.text, text
    assert head


def test_the_table_shows_every_measure(finished: Path) -> None:
    judged_run.write(finished)
    scores = read(finished)
    assert [column.title for column in scores.columns] == [
        "Merit", "Likeness", "Leakage", "Held-out loss", "Weight norm"
    ]  # fmt: skip
    assert [column.arrow for column in scores.columns] == ["↑", "↑", "↓", "↓", ""]
    assert rows(scores) == {
        "Base model": ["–", "0.00", "0.00", "0.0651", "–"],
        "Real against real": ["–", "1.00", "–", "–", "–"],
        "step 10": ["0.71", "0.81", "0.03", "0.0427", "1.5"],
        "step 20": ["0.52", "0.78", "0.21", "0.0432", "2.5"],
    }
    step = scores.rows[2]
    assert (step.badge, step.kind, step.cells[1].error) == ("best", "best", "±0.02")
    assert scores.rows[3].badge == "2nd"
    # the weight norm has no better side
    assert [cell.best for cell in step.cells] == [False, True, True, True, False]
    page = make(finished)
    assert "How near it comes." in page.text
    assert any(one.get("title") == "lower is better" for one in page.all("abbr"))


def test_merit_is_explained_by_what_it_is_made_of(finished: Path) -> None:
    """The sentence tells the prices that merit is computed with."""

    def sample(likeness: float, leakage: float, following: float) -> Measured:
        values = {"likeness": likeness, "leakage": leakage, "following": following}
        return Measured(values)

    base = sample(0.0, 0.2, 0.9)
    whole = choice.merit(sample(0.8, 0.2, 0.9), base)
    leaks = round(100 * (whole - choice.merit(sample(0.8, 1.2, 0.9), base)))
    loses = round(100 * (whole - choice.merit(sample(0.8, 0.2, -0.1), base)))
    judged_run.write(finished)
    column = read(finished).columns[0]
    words = f"likeness, less {leaks} % of the leakage above the base model's, less {loses} % of"
    assert words in column.help
    assert words in make(finished).text
    write_old(finished)
    assert "likeness" not in read(finished).columns[0].help


def test_charts_over_steps_are_told_in_words(finished: Path) -> None:
    judged_run.write(finished)
    scores = read(finished)
    assert [one.title for one in scores.charts] == ["Likeness", "Leakage", "Held-out loss"]
    likeness = scores.charts[0]
    assert [level.label for level in likeness.levels] == ["base model", "real against real"]
    # 0 is at the bottom, 1 at the top; step 10 is marked, the first of two
    assert [level.at for level in likeness.levels] == [likeness.bottom, likeness.top]
    assert likeness.marked == likeness.left
    page = make(finished)
    named = {str(one["aria-labelledby"]) for one in page.all("svg")}
    ids = {one.get("id") for _, one in page.tags}
    assert all(set(words.split()) <= ids for words in named)
    assert len(named) == 5
    assert "0.81 at step 10, 0.78 at step 20" in page.text


def test_what_was_not_measured_is_a_dash(finished: Path) -> None:
    row = judged_run.checkpoint(LAST, 20, 0.5, likeness=None, leakage=float("nan"), loss=0.2)
    judged_run.write(
        finished, checkpoints=[row], best=LAST, runners_up=[], base={"scores": {}},
        real={"scores": {"loss": 0.1}}, copied="best/gone.safetensors", confidence=None,
    )  # fmt: skip
    scores = read(finished)
    assert [column.title for column in scores.columns] == ["Merit", "Held-out loss"]
    assert rows(scores) == {"Real against real": ["–", "0.10"], "step 20": ["0.50", "0.20"]}
    page = make(finished)
    assert "Runner-up" not in page.text
    assert "Copied" not in page.text
    assert "Confidence" not in page.text


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ((0.5, 1.0), ["0.50", "1.00"]),
        ((0.0, 0.0), ["0.00", "0.00"]),
        ((0.06512, 0.06544), ["0.0651", "0.0654"]),
        ((12.0, 30.5), ["12", "30"]),
        ((1.5, 2.5), ["1.5", "2.5"]),
        ((-0.2, 0.1), ["-0.20", "0.10"]),
        ((1e-9, 2e-9), ["0.00000", "0.00000"]),
        ((3.0, 3.0), ["3.0", "3.0"]),
    ],
)
def test_numbers_show_their_differences(
    finished: Path, values: tuple[float, float], shown: list[str]
) -> None:
    rows = [
        judged_run.checkpoint(path, step, 0.5, loss=value)
        for path, step, value in zip((FIRST, LAST), (10, 20), values, strict=True)
    ]
    judged_run.write(finished, checkpoints=rows, base={}, real={})
    assert [row.cells[1].text for row in read(finished).rows] == shown


def test_nothing_could_be_judged(finished: Path) -> None:
    judged_run.write(
        finished, best=None, copied=None, runners_up=[], checkpoints=[], state="undecided",
        verdict=["There is nothing to hold it against."], advice=[], base={"scores": {}},
        real={"scores": {}}, confidence=None, pictures={},
    )  # fmt: skip
    page = make(finished)
    assert "Undecided" in page.text
    assert "There is nothing to hold it against." in page.text
    assert "Best checkpoint" not in page.text
    assert "#scores" not in {one["href"] for one in page.all("a")}


def test_files_outside_of_the_run_are_not_read(finished: Path) -> None:
    (finished.parent / "secret.safetensors").write_bytes(b"x" * 12345)
    row = judged_run.checkpoint("../secret.safetensors", 20, 0.5, likeness=0.2)
    judged_run.write(finished, checkpoints=[row], best="../secret.safetensors", runners_up=[],
                     copied="../secret.safetensors")  # fmt: skip
    scores = read(finished)
    assert scores.best
    assert scores.best.path is None
    assert (scores.best.size, scores.best.sha256, scores.copied) == ("the file is gone", "", "")
    make(finished)


def test_scores_of_the_first_version_still_render(finished: Path) -> None:
    write_old(finished)
    page = make(finished)
    for text in (
        "92 %", "11 %", "base model 8 %", "Splendid.", "Second.", "best", "With the trigger",
        "Without the trigger", "hair: pink", "100 %", "Runner-up", "8 pictures with the trigger",
    ):  # fmt: skip
        assert text in page.text, text
    assert rows(read(finished)) == {
        "Base model": ["–", "30 %", "8 %"],
        "step 10": ["85 %", "90 %", "10 %"],
        "last (step 20)": ["70 %", "80 %", "10 %"],
    }
    assert read(finished).rows[1].cells[1].error == "±5"
    assert [one.title for one in read(finished).charts] == [
        "With the trigger",
        "Without the trigger",
    ]


def test_unscored_runs_say_so_and_show_no_numbers(finished: Path) -> None:
    nothing = dict.fromkeys(("likeness", "leakage", "base_likeness", "base_leakage", "best"))
    sentence = ["Not scored: because."]
    write_old(finished, **nothing, checkpoints=[], attributes={}, verdict=sentence, pictures={})
    page = make(finished)
    assert "Not scored: because." in page.text
    assert " %" not in page.text.split("Previews by step")[0].split("Contents")[-1].split("}")[-1]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("{", "is not JSON"),
        ("[]", "all of it"),
        ('{"version": 2, "checkpoints": 3}', "checkpoints"),
        ('{"version": 2, "checkpoints": [{"label": "x"}]}', "checkpoints.0.path"),
        ("\udcff", "cannot be read"),
    ],
)
def test_a_broken_score_is_said(finished: Path, text: str, what: str) -> None:
    (finished / "score.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(UserError, match=what) as error:
        make(finished)
    assert "renma judge" in error.value.line()
