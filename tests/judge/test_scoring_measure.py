"""Measures of made-up features: what every number means, by hand (G3)."""

from __future__ import annotations

import math

import numpy as np
import pytest

from renma.judge.scoring.measure import MEASURES, Drawn, Scores, Yardstick
from renma.judge.scoring.subject import Subject

WIDTH, PROMPTS = 20, np.repeat(np.arange(3), 6)
RANDOM = np.random.default_rng(7)
LOOKS = np.linalg.qr(RANDOM.normal(size=(WIDTH, WIDTH)))[0] * 8
BASE = Drawn(
    LOOKS[PROMPTS] + RANDOM.normal(size=(18, WIDTH)),
    LOOKS[PROMPTS] + RANDOM.normal(size=(18, WIDTH)),
)
SUBJECT = LOOKS[5]
REAL = LOOKS[np.arange(12) % 3] + SUBJECT + RANDOM.normal(size=(12, WIDTH))


def yardstick(plain: bool = True) -> Yardstick:
    base = BASE if plain else Drawn(BASE.trigger, BASE.plain[:0])
    return Yardstick(REAL, None, base, PROMPTS, PROMPTS if plain else [])


def moved(trigger: float, plain: float) -> Drawn:
    """The base model's pictures, so much of the way to the subject."""
    return Drawn(BASE.trigger + trigger * SUBJECT, BASE.plain + plain * SUBJECT)


def test_the_base_model_against_itself() -> None:
    found = yardstick().measured(BASE)
    wanted = {"following": 1.0, "drift": 0.0, "diversity": 1.0, "style": 1.0, "copying": 0.0}
    assert {name: found.values[name] for name in wanted} == pytest.approx(wanted)
    for name in ("likeness", "leakage"):
        assert found.values[name] == pytest.approx(0, abs=0.1)
    assert found.drift == pytest.approx({0: 0, 1: 0, 2: 0})
    assert set(found.values) <= set(MEASURES)


def test_a_subject_learnt_by_halves_and_leaking_a_quarter() -> None:
    found = yardstick().measured(moved(0.5, 0.25))
    assert found.values["likeness"] == pytest.approx(0.5, abs=0.1)
    assert found.values["leakage"] == pytest.approx(0.25, abs=0.1)
    assert found.values["following"] == 1
    assert 0 < found.values["style"] < 1
    learnt = yardstick().measured(moved(1, 0))
    assert learnt.values["likeness"] == pytest.approx(1, abs=0.1)
    assert learnt.values["style"] < found.values["style"]
    for name in ("likeness", "leakage", "following", "copying"):
        assert len(learnt.each[name]) == 18
        assert learnt.values[name] == pytest.approx(learnt.each[name].mean())


def test_likeness_is_that_of_the_line() -> None:
    subject = Subject.learn(REAL, np.concatenate([BASE.trigger, BASE.plain]))
    drawn = moved(0.4, 0.9)
    found = yardstick().measured(drawn)
    np.testing.assert_allclose(found.each["likeness"], subject.likeness(drawn.trigger))
    np.testing.assert_allclose(found.each["leakage"], subject.likeness(drawn.plain))


def test_drift_is_told_in_the_distance_of_other_seeds() -> None:
    ruler = yardstick()
    shift = np.zeros((18, WIDTH))
    shift[PROMPTS == 1] = RANDOM.normal(size=WIDTH) * 3
    found = ruler.measured(Drawn(BASE.trigger, BASE.plain + shift))
    scaled = ruler.subject.scaled(BASE.plain)[PROMPTS == 1]
    pairs = [np.linalg.norm(a - b) for i, a in enumerate(scaled) for b in scaled[:i]]
    moved_by = np.linalg.norm(shift[PROMPTS == 1][0] / ruler.subject.scale)
    assert found.drift == pytest.approx({0: 0, 1: moved_by / np.mean(pairs), 2: 0}, abs=1e-9)
    assert found.values["drift"] == pytest.approx(found.drift[1] / 3)


def test_copies_are_counted_and_sameness_is_seen() -> None:
    trigger = BASE.trigger + SUBJECT
    trigger[:9] = REAL[:9] + RANDOM.normal(size=(9, WIDTH)) * 0.01
    found = yardstick().measured(Drawn(trigger, BASE.plain))
    assert found.values["copying"] == pytest.approx(0.5, abs=0.06)
    assert found.each["copying"][:9].tolist() == [1] * 9
    same = np.repeat(REAL[:1], 18, axis=0)
    collapsed = yardstick().measured(Drawn(same + RANDOM.normal(size=same.shape) * 0.01, same))
    assert collapsed.values["diversity"] < 0.3
    assert collapsed.values["following"] < 0.6


def test_real_pictures_against_real_ones() -> None:
    ruler = yardstick()
    real = ruler.real()
    assert real["likeness"] == pytest.approx(np.clip(ruler.subject.real, 0, 1).mean())
    assert 0.8 < real["likeness"] <= 1
    assert real["style"] == 0
    assert real["diversity"] == pytest.approx(
        different(ruler.subject.scaled(REAL)) / different(ruler.subject.scaled(BASE.trigger))
    )


def different(rows: np.ndarray) -> float:
    """The Vendi score by its definition (arXiv 2210.02410)."""
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    shares = np.linalg.eigvalsh(unit @ unit.T / len(unit)).clip(1e-15)
    return float(np.exp(-(shares * np.log(shares)).sum()))


def test_what_cannot_be_measured_is_left_out() -> None:
    bare = yardstick(plain=False).measured(Drawn(BASE.trigger, BASE.plain[:0]))
    assert not {"leakage", "drift"} & {*bare.values, *bare.each}
    assert bare.drift == {}
    # one prompt, and prompts of one picture each, cannot be told apart
    for prompts in (np.zeros(18, int), np.arange(18)):
        one = Yardstick(REAL, None, BASE, prompts, prompts).measured(BASE)
        assert "following" not in one.values
    singles = Yardstick(REAL, None, BASE, PROMPTS, np.arange(18)).measured(BASE)
    assert "drift" not in singles.values
    same = np.repeat(REAL[:1], 5, axis=0)
    assert "copying" not in Yardstick(same, None, BASE, PROMPTS, PROMPTS).measured(BASE).values


def test_the_error_is_that_of_a_mean() -> None:
    found = Scores(each={"likeness": np.array([0.0, 1.0, 1.0, 0.0]), "leakage": np.array([1.0])})
    assert found.error("likeness") == pytest.approx(math.sqrt(1 / 3) / 2)
    assert found.error("leakage") is None
    assert found.error("drift") is None
