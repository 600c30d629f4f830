"""Figures of tag tables against numpy and scipy (C5, G6: measured from co-occurrence)."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import jaccard

from renma.caption.assistant.statistics import TagTable, clusters, places

TAGS = ["a", "b", "c", "d", "e"]
TABLES = st.lists(st.sets(st.sampled_from(TAGS)), min_size=1, max_size=40)


def columns(captions) -> dict[str, np.ndarray]:
    return {tag: np.array([tag in tags for tags in captions]) for tag in TAGS}


@given(TABLES)
def test_counts_and_pairs_are_those_of_numpy(captions):
    table, column = TagTable(captions), columns(captions)
    for tag in TAGS:
        assert table.count(tag) == column[tag].sum()
        assert table.share(tag) == pytest.approx(column[tag].mean())
        assert table.without(tag) == np.flatnonzero(~column[tag]).tolist()
    for one, other in itertools.combinations(TAGS, 2):
        pair, a, b = table.pair(one, other), column[one], column[other]
        assert pair.both == (a & b).sum()
        assert table.with_any([one, other]) == np.flatnonzero(a | b).tolist()
        if a.std() and b.std():
            assert pair.phi == pytest.approx(np.corrcoef(a, b)[0, 1], abs=1e-12)
        else:
            assert pair.phi is None
        if (a | b).any():
            assert pair.jaccard == pytest.approx(1 - jaccard(a, b))
        if (a & b).any():
            wanted = np.log2((a & b).mean() / (a.mean() * b.mean()))
            assert pair.pmi == pytest.approx(wanted, abs=1e-12)
        else:
            assert pair.pmi == -math.inf


@given(TABLES)
def test_inseparable_tags_have_equal_columns(captions):
    column = columns(captions)
    keys: dict[bytes, list[str]] = {}
    for tag in TAGS:
        if 2 <= column[tag].sum() < len(captions):
            keys.setdefault(column[tag].tobytes(), []).append(tag)
    wanted = sorted(tuple(group) for group in keys.values() if len(group) > 1)
    assert sorted(TagTable(captions).inseparable()) == wanted


@given(TABLES, st.floats(0.1, 1))
def test_clusters_are_the_connected_parts_of_bound_pairs(captions, least):
    table = TagTable(captions)
    tags = sorted(table.tags)
    reach = {tag: {tag} for tag in tags}
    bound = [
        {one, other}
        for one, other in itertools.combinations(tags, 2)
        if (phi := table.pair(one, other).phi) is not None and phi >= least
    ]
    for _ in tags:
        for pair in bound:
            whole = set().union(*(reach[tag] for tag in pair))
            for tag in whole:
                reach[tag] = whole
    wanted = {tuple(sorted(group)) for group in reach.values() if len(group) > 1}
    assert {*clusters(table, tags, least)} == wanted


def test_spellings_are_one_tag():
    table = TagTable([["long_hair"], ["long hair"], ["Long hair", "long hair"], [r"a \(b\)"]])
    assert table.count("long hair") == 3
    assert table.spellings("long hair") == ("long hair", "Long hair", "long_hair")
    assert table.shown("a (b)") == r"a \(b\)"


def test_no_captions_and_many():
    assert TagTable([]).share("x") == 0
    assert TagTable([]).inseparable() == []
    table = TagTable([["x"]] * 5000 + [["y"]] * 5000)
    assert (table.count("x"), table.total) == (5000, 10_000)
    assert list(places(table.bits(["y"])))[:2] == [5000, 5001]
