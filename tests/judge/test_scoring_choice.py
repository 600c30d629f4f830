"""The choice among checkpoints whose worth is known beforehand (G3)."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from renma.judge.folder import Checkpoint
from renma.judge.scoring.choice import Choice, Judged, choose, merit, ranks_of
from renma.judge.scoring.measure import Scores

COUNT = 24
BASE_LEAKAGE, BASE_FOLLOWING = 0.1, 1.0


def scores(
    likeness: float | np.ndarray,
    leakage: float | np.ndarray = BASE_LEAKAGE,
    following: float | np.ndarray = BASE_FOLLOWING,
    **values: float,
) -> Scores:
    """Scores with one number for each picture, the same for all unless an array says so."""
    rows = {"likeness": likeness, "leakage": leakage, "following": following}
    each = {name: np.broadcast_to(np.asarray(row, float), COUNT) for name, row in rows.items()}
    means = {name: float(row.mean()) for name, row in each.items()}
    return Scores(means | values, dict(each))


BASE = scores(0.0)


def tried(*found: Scores) -> list[Judged]:
    return [
        Judged(Checkpoint(Path(f"a-{i}.safetensors"), i, f"step {i}"), one)
        for i, one in enumerate(found, 1)
    ]


def chosen(*found: Scores) -> Choice:
    return choose(tried(*found), BASE, seed=1)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (scores(0.8), 0.8),
        (scores(0.8, 0.5), 0.8 - 0.25 * 0.4),
        (scores(0.8, 0.0), 0.8),  # less than the base model leaks is no merit
        (scores(0.8, 0.1, 0.6), 0.8 - 0.25 * 0.4),
        (scores(1.0, 0.9, 0.0), 1 - 0.25 * 0.8 - 0.25),
    ],
)
def test_merit_is_likeness_less_a_quarter_of_each_price(found: Scores, expected: float) -> None:
    assert merit(found, BASE) == pytest.approx(expected)


def test_what_was_not_measured_costs_nothing() -> None:
    bare = Scores({"likeness": 0.7}, {"likeness": np.full(COUNT, 0.7)})
    assert merit(bare, BASE) == pytest.approx(0.7)
    assert merit(scores(0.7, 0.9), bare) == pytest.approx(0.7)


@given(st.lists(st.tuples(*[st.integers(0, 10)] * 3), min_size=1, max_size=6))
def test_the_best_has_the_highest_merit_and_the_rest_follow(rows: list[tuple[int, ...]]) -> None:
    found = [scores(a / 10, b / 10, c / 10) for a, b, c in rows]
    merits = [a / 10 - 0.25 * max(0, b / 10 - 0.1) - 0.25 * (1 - c / 10) for a, b, c in rows]
    choice = chosen(*found)
    assert choice.merits == pytest.approx(merits)
    assert merits[choice.best] == pytest.approx(max(merits))
    assert choice.order[0] == choice.best
    assert sorted(choice.order) == list(range(len(rows)))
    following = [merits[i] for i in choice.order]
    assert all(a >= b - 1e-9 for a, b in itertools.pairwise(following))
    assert choice.confidence == 1  # without noise in it nothing is uncertain


def noisy(mean: float, seed: int, spread: float = 0.2) -> np.ndarray:
    row = np.random.default_rng(seed).normal(size=COUNT)
    return mean + spread * (row - row.mean()) / row.std(ddof=1)


def test_among_equals_all_measures_decide() -> None:
    first = scores(noisy(0.80, 1), diversity=0.4, copying=0.3, loss=0.2)
    second = scores(noisy(0.79, 2), diversity=0.9, copying=0.0, loss=0.1)
    choice = chosen(first, second)
    assert choice.best == 1  # a point less, and nothing but that is worse
    assert choice.ranks[1] > choice.ranks[0]
    # the error of a paired difference of which one is 0
    gap = first.each["likeness"] - second.each["likeness"]
    expected = gap.std(ddof=1) / math.sqrt(COUNT)
    assert choice.errors == pytest.approx((expected, 0.0))


def test_a_difference_beyond_its_error_is_one_however_small() -> None:
    """The pictures are paired: what both share is no noise."""
    shared = noisy(0.8, 1)
    first = scores(shared, diversity=0.4, copying=0.3, loss=0.2)
    second = scores(shared - 0.01, diversity=0.9, copying=0.0, loss=0.1)
    assert chosen(first, second).best == 0


def test_a_difference_that_matters_is_one_however_noisy() -> None:
    first = scores(noisy(0.80, 1, spread=2), diversity=0.4, copying=0.3, loss=0.2)
    second = scores(noisy(0.77, 2, spread=2), diversity=0.9, copying=0.0, loss=0.1)
    assert chosen(first, second).best == 0


def test_identical_checkpoints_are_equally_good_and_the_earliest_is_taken() -> None:
    row = noisy(0.6, 3)
    choice = chosen(*[scores(row, diversity=1.0) for _ in range(4)])
    assert (choice.best, choice.order, choice.confidence) == (0, (0, 1, 2, 3), 1.0)


def test_confidence_is_high_for_clear_winners_and_even_for_two_alike() -> None:
    clear = chosen(scores(noisy(0.3, 1)), scores(noisy(0.9, 2)), scores(noisy(0.5, 3)))
    assert (clear.best, clear.confidence) == (1, 1.0)
    shares = []
    for seed in range(12):
        pair = chosen(scores(noisy(0.7, seed, 0.6)), scores(noisy(0.7, seed + 50, 0.6)))
        shares.append(pair.confidence)
        assert 0.4 < pair.confidence < 0.75
    assert np.mean(shares) == pytest.approx(0.55, abs=0.06)  # half, and those within two points
    assert chosen(scores(0.5)).confidence == 1


def test_confidence_is_the_share_of_draws_in_which_nothing_is_better_by_two_points() -> None:
    first, second = noisy(0.80, 1), noisy(0.79, 2)
    choice = chosen(scores(first, loss=0.2, style=1), scores(second, loss=0.1, style=0))
    assert choice.best == 1
    draws = np.random.default_rng(0).integers(0, COUNT, (20_000, COUNT))
    expected = ((second - first)[draws].mean(1) >= -0.02).mean()
    assert 0.5 < expected < 0.65
    assert choice.confidence == pytest.approx(expected, abs=0.04)


def test_confidence_draws_every_checkpoint_alike() -> None:
    """Drawn one by one, two that differ by the same in every picture would look uncertain."""
    row = noisy(0.5, 4, spread=0.5)
    assert chosen(scores(row), scores(row + 0.05)).confidence == 1


def test_broken_numbers_are_never_best() -> None:
    nan = scores(math.nan, loss=math.nan)
    choice = chosen(scores(0.2), nan, scores(0.5))
    assert (choice.best, choice.order) == (2, (2, 0, 1))
    assert math.isnan(choice.merits[1])
    assert choice.confidence == 1
    # what NaN weights draw may lie anywhere on the line
    damaged = scores(1.0, not_finite=0.25)
    choice = chosen(damaged, scores(0.2), scores(0.5, not_finite=1.0))
    assert (choice.best, choice.order, choice.confidence) == (1, (1, 0, 2), 1.0)
    assert chosen(scores(0.3, not_finite=1.0), damaged).best == 1
    assert chosen(nan).best == 0


def test_ranks_by_hand() -> None:
    """0 is worst, 1 best, equals their mean; what was not measured does not count."""
    rows = [
        Scores({"likeness": 0.2, "loss": 0.1, "norm": 9.0}),
        Scores({"likeness": 0.4, "loss": 0.3, "norm": 1.0}),
        Scores({"likeness": 0.4, "loss": math.nan, "norm": 5.0}),
    ]
    expected = [(0 + 1) / 2, (0.75 + 0) / 2, 0.75]
    assert ranks_of(rows).tolist() == pytest.approx(expected)
    assert ranks_of([Scores({"norm": 1.0})] * 2).tolist() == [0.5, 0.5]
