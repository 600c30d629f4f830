"""G3: measures of sets of pictures, beside scipy and formulas written out here."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.distance import cdist
from scipy.stats import entropy

from renma.judge import measures

NUMBERS = st.floats(-100, 100, width=32).filter(lambda x: abs(x) > 1e-3)


def sets(most: int = 7):
    """Two sets of features of the same length, no row of zeros."""
    return st.tuples(st.integers(2, most), st.integers(2, most), st.integers(2, 6)).flatmap(
        lambda n: st.tuples(
            arrays(np.float32, (n[0], n[2]), elements=NUMBERS),
            arrays(np.float32, (n[1], n[2]), elements=NUMBERS),
        )
    )


def drawn(pictures: int, seed: int = 0, width: int = 12) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((pictures, width)).astype(np.float32)


@given(sets())
@settings(max_examples=60)
def test_cosines_are_scipys(pair):
    """G3. Bounds, symmetry, and the same numbers as scipy's."""
    first, second = pair
    found = measures.cosines(first, second)
    assert np.allclose(found, 1 - cdist(first, second, "cosine"), atol=1e-6)
    assert np.abs(found).max() <= 1
    assert np.allclose(found, measures.cosines(second, first).T)
    same = measures.paired_cosine(first, first * 3)
    assert np.allclose(same, 1)


@given(sets(), st.floats(1e-30, 1e30))
@settings(max_examples=40)
def test_length_of_features_does_not_count(pair, factor):
    """G3. Also where squares of them would be 0 or infinite."""
    first, second = (each.astype(np.float64) for each in pair)
    again = measures.cosines(first * factor * factor * factor, second)
    assert np.allclose(again, measures.cosines(first, second), atol=1e-9)


@given(sets())
@settings(max_examples=60)
def test_centroid_distance_is_what_variety_leaves_of_similarity(pair):
    """G3. LyCORIS' identity: 1 - S = (|c1 - c2|^2 + Var1 + Var2) / 2."""
    units = [each / np.linalg.norm(each, axis=1, keepdims=True) for each in pair]
    spread = sum(((u - u.mean(0)) ** 2).sum(1).mean() for u in units)
    lost = 2 * (1 - measures.cosines(*pair).mean())
    assert measures.centroid_distance(*pair) == pytest.approx(lost - spread, abs=1e-5)


@given(st.integers(1, 9), st.integers(1, 5))
@settings(max_examples=30)
def test_vendi_of_equal_pictures_is_1_and_of_orthogonal_ones_n(count, times):
    """G3. And k copies of n orthogonal pictures are still n."""
    unit = np.eye(count, count + 2, dtype=np.float32) * 3
    assert measures.vendi(unit).effective == pytest.approx(count, rel=1e-9)
    assert measures.vendi(unit).share == pytest.approx(1, rel=1e-9)
    copies = measures.vendi(np.repeat(unit, times, axis=0))
    assert copies.effective == pytest.approx(count, rel=1e-9)
    assert copies.share == pytest.approx(1 / times, rel=1e-9)
    assert measures.vendi(np.repeat(drawn(1), count, axis=0)).effective == pytest.approx(1)


@given(sets(), st.randoms(use_true_random=False))
@settings(max_examples=60)
def test_vendi_is_its_formula_in_any_order(pair, random):
    """G3. exp of the entropy of the kernel's eigenvalues, whichever is larger, n or d."""
    features = pair[0]
    kernel = 1 - cdist(features, features, "cosine")
    values = np.clip(np.linalg.eigvalsh(kernel / len(features)), 1e-15, None)
    expected = np.exp(entropy(values / values.sum()))
    found = measures.vendi(features)
    assert found.effective == pytest.approx(expected, rel=1e-4)
    assert found.pictures == len(features)
    assert 1 <= found.effective <= len(features)
    order = list(range(len(features)))
    random.shuffle(order)
    assert measures.vendi(features[order]).effective == pytest.approx(found.effective, rel=1e-9)


def test_effective_number():
    """G3. Roy and Vetterli's effective rank: k equal values are k, zeros do not count."""
    assert measures.effective_number(np.array([3.0, 3, 3, 0, 0])) == pytest.approx(3)
    assert measures.effective_number(np.array([4.0, 2, 1, 1])) == pytest.approx(2**1.75)
    assert measures.effective_number(np.zeros(4)) == 0
    assert measures.effective_number(np.array([1e300, 1e300])) == pytest.approx(2)


def test_copying_finds_the_copies_and_their_pictures():
    """G3. Two of six are a training picture with a little noise; the others are new."""
    training = drawn(40, width=32)
    new = drawn(6, seed=1, width=32)
    new[1], new[4] = 2 * training[7] + 0.01, training[30] - 0.02
    found = measures.copying(new, training)
    assert found.share == pytest.approx(2 / 6)
    assert (found.nearest[1], found.nearest[4]) == (7, 30)
    far = cdist(training, training, "cosine") + 9 * np.eye(40)
    assert found.limit == pytest.approx(np.quantile(far.min(1), 0.05), abs=1e-6)
    assert np.allclose(found.distances, cdist(new, training, "cosine").min(1), atol=1e-6)


def test_pictures_of_the_training_set_hardly_count_as_copies_of_the_rest():
    """G3. Real against real: about the quantile that was asked for."""
    everything = drawn(400, width=8)
    for quantile in (0.05, 0.25):
        found = measures.copying(everything[:200], everything[200:], quantile)
        assert found.share == pytest.approx(quantile, abs=0.06)


def test_a_training_picture_that_is_there_twice_hides_no_copy():
    """G3. Nor does it move the limit."""
    training, new = drawn(30), drawn(4, seed=1)
    new[0] = training[3]
    once = measures.copying(new, training)
    more = np.concatenate([training, training[:13], training[:13] * 2])
    twice = measures.copying(new, more)
    assert once.share == twice.share == 0.25
    for quantile in (0.05, 0.5, 0.9):
        limits = [measures.copying(new, each, quantile).limit for each in (training, more)]
        assert limits[0] == pytest.approx(limits[1])
    with pytest.raises(ValueError, match="different training"):
        measures.copying(new, np.repeat(training[:1], 3, axis=0))


@pytest.mark.parametrize("bad", [np.zeros((0, 4)), np.full((2, 4), np.nan), np.ones(4)])
def test_features_that_are_none_are_refused(bad):
    """G3. No number comes out of nothing."""
    with pytest.raises(ValueError, match=r"picture|finite|NaN|features"):
        measures.centroid_distance(bad, drawn(3, width=4))
    with pytest.raises(ValueError, match=r"picture|finite|NaN|features"):
        measures.vendi(bad)
