"""The line from the base model to real pictures: dense algebra, and the laws of a yardstick (G3)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from renma.judge.scoring.subject import RIDGE, Subject


def sets(seed: int, real: int, base: int, width: int, gap: float = 3.0) -> list[np.ndarray]:
    """Real and base features; the real ones lie ``gap`` away in the first two channels."""
    random = np.random.default_rng(seed)
    mixed = random.normal(size=(width, width)) * 0.3 + np.eye(width)
    shift = np.zeros(width)
    shift[:2] = gap, -gap
    centre = random.normal(size=width) * 5
    real_rows = random.normal(size=(real, width)) @ mixed + shift + centre
    return [real_rows, random.normal(size=(base, width)) @ mixed + centre]


def fisher(real: np.ndarray, base: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centre and direction for plain features, written out: (Sw with shrinkage)^-1 (m1 - m0).

    Pooled within-class covariance of standardised features, drawn towards a round one of the same
    trace (Ledoit and Wolf's target).
    """
    first, second = (rows - rows.mean(0) for rows in (real, base))
    within = np.vstack([first, second])
    spread = np.sqrt((within**2).mean(0) - within.mean(0) ** 2)
    spread = spread + spread.mean() / 1000 + 1e-6
    z = within / spread
    covariance = (z[:, :, None] * z[:, None, :]).mean(0)
    size = len(covariance)
    shrunk = (1 - RIDGE) * covariance + RIDGE * np.trace(covariance) / size * np.eye(size)
    gap = (real.mean(0) - base.mean(0)) / spread
    return base.mean(0), np.linalg.inv(shrunk) @ gap / spread


@pytest.mark.parametrize(
    ("real", "base", "width"), [(6, 9, 4), (30, 40, 8), (5, 6, 40), (9, 12, 21)]
)
def test_the_line_is_fishers_both_for_few_and_for_many_channels(
    real: int, base: int, width: int
) -> None:
    """Fewer pictures than channels go the other way round (Woodbury); the line is the same."""
    rows, ground = sets(3, real, base, width, gap=6)
    subject = Subject.learn(rows, ground)
    centre, direction = fisher(rows, ground)
    others = np.random.default_rng(9).normal(size=(7, width)) * 4
    on = (others - centre) @ direction
    zero, end = (((part - centre) @ direction).mean() for part in (ground, rows))
    # both sets left out in turn, each by its own line; turns go by the first feature
    count = min(8, real, base)
    turns = [part[:, 0].argsort().argsort() % count for part in (rows, ground)]
    away, near = np.empty(real), np.empty(base)
    for turn in range(count):
        kept, below = rows[turns[0] != turn], ground[turns[1] != turn]
        middle, line = fisher(kept, below)
        low, high = (((part - middle) @ line).mean() for part in (below, kept))
        for part, turns_of, found in ((rows, turns[0], away), (ground, turns[1], near)):
            found[turns_of == turn] = ((part[turns_of == turn] - middle) @ line - low) / (
                high - low
            )
    first, last = (zero + (end - zero) * share for share in (near.mean(), np.median(away)))
    expected = (on - first) / (last - first)
    np.testing.assert_allclose(subject.position(others), expected, rtol=1e-4, atol=1e-5)
    scaled = [(part - near.mean()) / (np.median(away) - near.mean()) for part in (away, near)]
    np.testing.assert_allclose(subject.real, scaled[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(subject.base, scaled[1], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(subject.likeness(others), subject.position(others).clip(0, 1))


@given(st.integers(0, 10_000), st.sampled_from([(12, 14, 6), (6, 8, 30)]))
def test_pictures_that_were_left_out_are_0_and_1(seed: int, sizes: tuple[int, int, int]) -> None:
    real, base = sets(seed, *sizes, gap=10)
    subject = Subject.learn(real, base)
    assert subject.base.mean() == pytest.approx(0, abs=1e-7)
    assert np.median(subject.real) == pytest.approx(1)


def test_unseen_pictures_of_both_sides_lie_at_0_and_1_and_those_of_the_line_beyond() -> None:
    """More channels than pictures: a line fits its own pictures better than any others.

    Other noise of the same base model is no likeness (it was taken for one once).
    """
    found = []
    for seed in range(30):
        real, base = sets(seed, 210, 212, 30, gap=4)
        subject = Subject.learn(real[:10], base[:12])
        rows = (real[:10], real[10:], base[:12], base[12:])
        found.append([subject.position(part).mean() for part in rows])
    seen, unseen, drawn, other_noise = np.mean(found, 0)
    assert unseen == pytest.approx(1, abs=0.15)
    assert other_noise == pytest.approx(0, abs=0.15)
    assert seen > unseen + 0.15
    assert drawn < other_noise - 0.15


def test_sets_that_are_alike_lay_no_line() -> None:
    """Regularisation pictures that the base model drew itself, given as the subject."""
    refused = 0
    for seed in range(20):
        random = np.random.default_rng(seed)
        real, base = (random.normal(size=(count, 300)) for count in (14, 48))
        try:
            subject = Subject.learn(real, base)
        except ValueError:
            refused += 1
        else:  # a line by chance: it does not call other pictures of the same kind the subject
            assert abs(subject.position(random.normal(size=(100, 300))).mean()) < 1
    assert refused >= 15


@given(st.integers(0, 10_000), st.sampled_from([(12, 14, 6), (6, 8, 30)]))
def test_units_of_channels_do_not_count(seed: int, sizes: tuple[int, int, int]) -> None:
    random = np.random.default_rng(seed)
    real, base = sets(seed, *sizes, gap=12)
    others = random.normal(size=(9, sizes[2])) * 3
    scale = np.exp(random.uniform(-1.5, 1.5, sizes[2]))
    shift = random.normal(size=sizes[2]) * 10
    plain = Subject.learn(real, base)
    mapped = Subject.learn(real * scale + shift, base * scale + shift)
    found = mapped.position(others * scale + shift)
    np.testing.assert_allclose(found, plain.position(others), rtol=0.05, atol=0.05)
    # one unit for all of them changes nothing at all
    double = Subject.learn(real * 2, base * 2)
    np.testing.assert_allclose(double.position(others * 2), plain.position(others), atol=1e-3)


@given(st.integers(0, 10_000), st.randoms(use_true_random=False))
def test_the_order_of_pictures_does_not_count(seed: int, random: np.random.Generator) -> None:
    real, base = sets(seed, 17, 19, 12, gap=8)
    others = np.random.default_rng(seed).normal(size=(5, 12))
    orders = [list(range(len(rows))) for rows in (real, base, others)]
    for order in orders:
        random.shuffle(order)
    first, second = Subject.learn(real, base), Subject.learn(real[orders[0]], base[orders[1]])
    np.testing.assert_allclose(second.real, first.real[orders[0]], rtol=1e-7)
    found = second.likeness(others[orders[2]])
    np.testing.assert_allclose(found, first.likeness(others)[orders[2]], atol=1e-7)


def test_held_out_pictures_say_where_1_is() -> None:
    real, base = sets(5, 10, 12, 8, gap=8)
    held_out = sets(5, 10, 12, 8, gap=8)[0] + 0.5
    subject = Subject.learn(real, base, held_out)
    assert np.median(subject.position(held_out)) == pytest.approx(1)
    np.testing.assert_allclose(subject.position(held_out), subject.real)


def test_what_varies_in_both_counts_less_than_what_parts_them() -> None:
    """Backgrounds vary everywhere; a picture with another one is no likeness."""
    random = np.random.default_rng(0)
    background = random.normal(size=(40, 1)) * 10
    subject_channel = np.repeat([[4.0], [0.0]], 20, axis=0) + random.normal(size=(40, 1))
    rows = np.hstack([background, subject_channel])
    subject = Subject.learn(rows[:20], rows[20:])
    middle = rows[20:].mean(0)
    assert abs(subject.position(middle[None] + [10, 0])[0]) < 0.15
    assert subject.position(middle[None] + [0, 4])[0] == pytest.approx(1, abs=0.25)


@pytest.mark.parametrize(("real", "base"), [(2, 9), (9, 1), (0, 4)])
def test_too_few_pictures_lay_no_line(real: int, base: int) -> None:
    with pytest.raises(ValueError, match="too few"):
        Subject.learn(np.ones((real, 3)), np.ones((base, 3)))
