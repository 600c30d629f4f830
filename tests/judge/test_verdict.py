"""What is said of runs whose scores are known: every sentence where it belongs, and only there (G3)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from renma.config import Run
from renma.judge.folder import Checkpoint
from renma.judge.scoring.choice import Judged, choose
from renma.judge.scoring.measure import Scores
from renma.judge.verdict import FEW, Verdict, verdict

COUNT = 24
SPREAD = np.tile([-0.04, 0.04], COUNT // 2)
"""Deviations of single pictures; all checkpoints share them, so differences are exact."""

SENTENCES = {
    "only": "The only checkpoint is",
    "best": "Best of",
    "learnt": "learnt",
    "rising": "still rising",
    "later": "Later checkpoints are no better.",
    "over": "Over-trained:",
    "unmeasured": "Leakage was not measured",
    "leakless": "does not leak",
    "leaks": "It leaks",
    "follows": "It follows the rest of the prompt",
    "copies": "are nearly training pictures",
    "nan": "numbers that are none",
    "measured": "Measured on",
}


def scores(
    likeness: float,
    leakage: float | None = 0.1,
    following: float | None = 1.0,
    count: int = COUNT,
    **values: float,
) -> Scores:
    each = {"likeness": likeness + SPREAD[:count]}
    if leakage is not None:
        each["leakage"] = leakage + SPREAD[:count]
    if following is not None:
        each["following"] = (np.arange(count) < round(following * count)).astype(float)
    if "loss" in values:  # of pictures that are hard or easy for every checkpoint alike
        each["loss"] = values["loss"] * (1 + 0.3 * SPREAD[:count] / SPREAD.std())
    return Scores({name: float(row.mean()) for name, row in each.items()} | values, each)


BASE = scores(0.0)


def said(*found: Scores, base: Scores = BASE, reg: int = 0, held_out: int = 0) -> Verdict:
    tried = [
        Judged(Checkpoint(Path(f"aa12-step{10 * i:08}.safetensors"), 10 * i, f"step {10 * i}"), one)
        for i, one in enumerate(found, 1)
    ]
    choice = choose(tried, base, seed=1)
    return verdict(tried, base, choice, reg_pictures=reg, held_out=held_out)


def present(found: Verdict) -> set[str]:
    text = " ".join(found.sentences)
    assert_grammar(found)
    return {name for name, words in SENTENCES.items() if words in text}


def assert_grammar(found: Verdict) -> None:
    for text in (*found.sentences, *found.advice):
        assert re.fullmatch(r"[A-Z0-9a-z].*\.", text)
        assert "  " not in text
        assert "nan" not in text
        assert not re.search(r"\b1 (points|pictures|checkpoints)\b", text)
        assert not re.search(r"\b(0|[2-9]|\d\d+) (point|picture|checkpoint)\b", text)
    assert len(set(found.advice)) == len(found.advice)


STEADY = (scores(0.4), scores(0.93), scores(0.93))
CASES: list[tuple[str, tuple[Scores, ...], set[str]]] = [
    # the trigger does next to nothing
    ("under-trained", (scores(0.05), scores(0.1)), {"best", "learnt", "leakless"}),
    ("under-trained", (scores(0.2), scores(0.5)), {"best", "learnt", "leakless"}),
    ("under-trained", (scores(0.3),), {"only", "learnt", "leakless"}),
    # there, but more is to come
    ("under-trained", (scores(0.6), scores(0.75)), {"best", "rising", "leakless"}),
    # there
    ("well trained", STEADY, {"best", "leakless", "later"}),
    ("well trained", (scores(0.7), scores(0.71)), {"best", "leakless"}),
    ("well trained", (scores(0.7), scores(0.95)), {"best", "leakless"}),  # enough of it
    ("well trained", (scores(0.8),), {"only", "leakless"}),
    ("well trained", (scores(0.8, None),), {"only", "unmeasured"}),
    ("well trained", (scores(0.8, following=None),), {"only", "leakless"}),
    ("well trained", (scores(0.8, 0.2),), {"only", "leakless"}),
    ("well trained", (scores(0.8, 0.5),), {"only", "leaks"}),
    ("well trained", (scores(0.8, copying=0.3),), {"only", "leakless", "copies"}),
    ("well trained", (scores(0.8, copying=0.2),), {"only", "leakless"}),
    # a loss of following that matters is said, of the last checkpoint too
    ("well trained", (scores(0.8, following=0.83),), {"only", "leakless", "follows"}),
    ("well trained", (scores(0.2), scores(0.95, following=0.83)), {"best", "leakless", "follows"}),
    # worse at the end
    ("over-trained", (scores(0.9), scores(0.6)), {"best", "over", "leakless"}),
    ("over-trained", (scores(0.9), scores(0.9, 0.6)), {"best", "over", "leakless"}),
    # nothing but the subject is drawn any more
    ("over-trained", (scores(0.95, following=0.3),), {"only", "over", "leakless"}),
    ("over-trained", (scores(0.3), scores(0.99, following=0.5)), {"best", "over", "leakless"}),
    # the loss on real pictures has risen since
    ("over-trained", (scores(0.9, loss=0.1), scores(0.9, loss=0.115)), {"best", "over", "leakless"}),
    ("well trained", (scores(0.9, loss=0.1), scores(0.9, loss=0.108)), {"best", "later", "leakless"}),
    ("well trained", (scores(0.9, loss=0.12), scores(0.9, loss=0.1)), {"best", "leakless"}),
    # already the best has lost more than it should
    (
        "over-trained",
        (scores(0.9, following=0.7), scores(0.9, following=0.2)),
        {"best", "over", "leakless", "follows"},
    ),
    # too few to say
    ("undecided", (scores(0.9, count=4), scores(0.2, count=4)), {"best", "later", "leakless"}),
    ("undecided", (scores(0.1, count=FEW - 1),), {"only", "leakless"}),
    # numbers are damaged
    ("well trained", (scores(0.8), scores(0.8, not_finite=0.1)), {"best", "later", "leakless", "nan"}),
]  # fmt: skip


@pytest.mark.parametrize(("state", "found", "expected"), CASES)
def test_states_and_their_sentences(
    state: str, found: tuple[Scores, ...], expected: set[str]
) -> None:
    base = (
        BASE
        if len(found[0].each["likeness"]) == COUNT
        else scores(0.0, count=len(found[0].each["likeness"]))
    )
    told = said(*found, base=base)
    assert told.state == state
    assert present(told) == expected | {"measured"}


def test_the_best_is_named_with_its_numbers_and_the_runners_up() -> None:
    told = said(scores(0.4), scores(0.914), scores(0.8, 0.3))
    assert told.sentences[0] == (
        "Best of 3 checkpoints is step 20 (aa12-step00000020.safetensors): likeness 91 %, leakage "
        "10 %, prompt following 100 %. Runners-up are step 30 (80 %) and step 10 (40 %)."
    )
    assert "Runner-up is step 10 (40 %)." in said(scores(0.4), scores(0.9)).sentences[0]
    assert "Runner" not in said(scores(0.4)).sentences[0]


@pytest.mark.parametrize(
    ("found", "words", "advice"),
    [
        ((scores(0.05),), "hardly learnt (5 % of the way", "Train longer"),
        ((scores(0.45),), "only partly learnt (45 % of the way", "Train longer"),
        ((scores(0.61), scores(0.75)), "rising (61 % to 75 % at the last two", "Train on"),
        ((scores(0.9), scores(0.6)), "step 20 is 30 points below the best in merit.",
         "Use aa12-step00000010.safetensors; next time stop there."),
        ((scores(0.95, following=0.5),),
         "the only checkpoint follows the prompt 50 points less often than the base model does.",
         "Use fewer steps"),
        ((scores(0.9), scores(0.625, following=0.5)),
         "step 20 is 40 points below the best in merit and follows the prompt 50 points less",
         "next time stop there."),
        ((scores(0.9, following=0.7), scores(0.9, following=0.2)),
         "step 20 is 12 points below the best in merit and follows the prompt 79 points",
         "Use fewer steps"),
        ((scores(0.8, following=0.83),), "prompt 17 points less often", "Caption what should stay"),
        ((scores(0.8, 0.6),), "50 points more of the subject", "Add regularisation pictures: renma"),
        ((scores(0.8, copying=0.25),), "25 % of its pictures are nearly", "more different pictures"),
        ((scores(0.8), scores(0.9, not_finite=0.1)),
         "aa12-step00000020.safetensors holds numbers", "higher precision"),
        ((scores(0.8, not_finite=0.1), scores(0.9, not_finite=0.1)),
         "aa12-step00000010.safetensors, aa12-step00000020.safetensors hold numbers", "Train anew"),
    ],
)  # fmt: skip
def test_findings_have_their_figures_and_their_advice(
    found: tuple[Scores, ...], words: str, advice: str
) -> None:
    told = said(*found)
    assert words in " ".join(told.sentences)
    assert advice in " ".join(told.advice)


def test_regularised_runs_are_told_to_take_more_of_it() -> None:
    told = said(scores(0.8, 0.6), reg=24)
    assert "Add more regularisation pictures, or lower optimizer.text_encoder_lr." in told.advice


def test_a_difference_within_its_error_is_none() -> None:
    """Means that differ by much, but because of one picture or two."""

    def of(**pictures: list[float]) -> Scores:
        each = {name: np.array(row) for name, row in pictures.items()}
        return Scores({name: float(row.mean()) for name, row in each.items()}, each)

    base = of(likeness=[0.0] * 8, leakage=[0.0] * 8, following=[1.0] * 8)
    sure = {"leakage": [0.0] * 8, "following": [1.0] * 8}
    steady = of(likeness=[0.8] * 8, **sure)
    shaky = of(likeness=[0.8] * 7 + [0.0], **sure)  # 10 points less, of one picture in eight
    assert said(steady, shaky, base=base).state == "well trained"
    leaky = of(likeness=[0.8] * 8, leakage=[1.0, 0.6] + [0.0] * 6, following=[1.0] * 8)
    assert present(said(leaky, base=base)) == {"only", "leakless", "measured"}
    unruly = of(likeness=[0.8] * 8, leakage=[0.0] * 8, following=[0.0, 0.0] + [1.0] * 6)
    assert said(unruly, base=base).state == "well trained"
    # over-trained for another reason: the shaky difference is not named among the reasons
    both = of(likeness=[0.8] * 6 + [0.0] * 2, leakage=[0.0] * 8, following=[0.0] * 5 + [1.0] * 3)
    told = " ".join(
        said(
            of(likeness=[0.9] * 8, leakage=[0.0] * 8, following=[0.0] * 8), both, base=base
        ).sentences
    )
    assert "follows the prompt 62 points" in told
    assert "below the best" not in told


def test_the_last_must_follow_prompts_about_as_often_as_the_best() -> None:
    """Where the base model itself obeys little, a fall below the best still counts (G3)."""
    base = scores(0.0, following=0.5)
    good = scores(0.95, following=1.0)
    fallen = said(good, scores(0.95, following=0.5), base=base)
    assert fallen.state == "over-trained"
    assert (
        "Over-trained: step 20 follows the prompt 50 points less often than the best does."
        in fallen.sentences
    )
    assert "Use aa12-step00000010.safetensors; next time stop there." in fallen.advice
    # a fifth is what the luckiest of many checkpoints may be ahead
    assert said(good, scores(0.95, following=0.79), base=base).state == "well trained"
    # the same fall, but one that eight pictures cannot show
    few = scores(0.0, following=0.5, count=8)
    lucky, unlucky = (scores(0.95, following=share, count=8) for share in (0.625, 0.25))
    unlucky.each["following"][:] = [0, 0, 1, 0, 0, 1, 0, 0]
    assert said(lucky, unlucky, base=few).state == "well trained"
    # told once: by the base model, where that shows it too
    both = said(good, scores(0.95, following=0.1), base=base)
    assert sum("less often" in text for text in both.sentences) == 1
    assert "than the base model does" in " ".join(both.sentences)


def test_how_sure_it_is() -> None:
    (last,) = said(scores(0.8)).sentences[-1:]
    assert last == (
        "Measured on 24 pictures with the trigger against real training pictures, give or take "
        "1 point."
    )
    told = said(scores(0.8), scores(0.9), held_out=3).sentences[-1]
    assert (
        "against real held-out pictures, give or take 1 point; drawn anew, no checkpoint is" in told
    )
    single = said(scores(0.8, count=1), base=scores(0.0, count=1))
    assert single.sentences[-1] == (
        "Measured on 1 picture with the trigger against real training pictures."
    )
    assert f"Fewer than {FEW} pictures decide nothing: raise judge.pictures." in single.advice
    assert not [tip for tip in said(scores(0.8)).advice if "decide" in tip]


def test_every_option_that_advice_names_exists() -> None:
    named: set[str] = set()
    for _, found, _ in CASES:
        count = len(found[0].each["likeness"])
        told = said(*found, base=scores(0.0, count=count))
        named |= {m for text in told.advice for m in re.findall(r"\b[a-z]+\.[a-z_]+\b", text)}
    options: dict[str, Any] = Run().model_dump()
    named -= {name for name in named if name.endswith(".safetensors")}
    assert len(named) > 4
    for name in named:
        section, option = name.split(".")
        assert option in options[section]
