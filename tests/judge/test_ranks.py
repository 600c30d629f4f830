"""G3: candidates beside one another, beside scipy's ranks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import rankdata

from renma.judge import ranks

SCORES = st.integers(2, 8).flatmap(
    lambda n: arrays(np.float64, n, elements=st.integers(-3, 3).map(float))
)


@given(SCORES)
@settings(max_examples=60)
def test_ranks_are_scipys(scores):
    """G3. 0 to 1, ties averaged; low scores turned round."""
    expected = (rankdata(scores, "average") - 1) / (len(scores) - 1)
    assert np.allclose(ranks.ranked(scores), expected)
    assert np.allclose(ranks.ranked(scores, "low"), 1 - expected)
    assert np.allclose(ranks.ranked(np.exp(scores)), expected)  # only the order counts


def test_what_was_not_measured_has_no_rank():
    """G3. And does not move the others."""
    found = ranks.ranked(np.array([0.1, np.nan, 0.5, 0.3]))
    assert np.array_equal(found, [0, np.nan, 1, 0.5], equal_nan=True)
    assert ranks.ranked(np.array([7.0])).tolist() == [0.5]
    assert np.isnan(ranks.ranked(np.array([np.nan]))).all()


def test_draws_are_a_function_of_the_seed_alone():
    """G3. With replacement, each picture as often as any other."""
    first = ranks.resamples(10, seed=3)
    np.random.default_rng(0).random(5)
    assert np.array_equal(first, ranks.resamples(10, seed=3))
    assert not np.array_equal(first, ranks.resamples(10, seed=4))
    assert first.shape == (1000, 10)
    assert np.abs(np.bincount(first.ravel()) / 1000 - 1).max() < 0.15
    assert np.mean([len(set(row)) for row in first]) == pytest.approx(10 * (1 - 0.9**10), abs=0.1)
