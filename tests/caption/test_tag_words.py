"""C1: from scores to words: thresholds, combination, order, spelling. Pure functions."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renma.caption.choose import Opinion, choose, words
from renma.caption.deliver import met
from renma.config.caption.tag import TagOptions
from renma.engine.taggers._base import Tag

LIST = (
    Tag("sensitive", "rating"), Tag("general", "rating"), Tag("long_hair"), Tag("^_^"),
    Tag("miku_(append)_(vocaloid)", "character"), Tag("best", "quality"), Tag("hat"), Tag("who", "artist"),
)  # fmt: skip
SCORES = {0: 0.4, 1: 0.5, 2: 0.9, 3: 0.95, 4: 0.8, 5: 0.2, 6: 0.3, 7: 0.5}


def chosen(**options) -> tuple[str, ...]:
    given_ = TagOptions(folder=Path(), **options)
    return words(choose([Opinion(LIST, SCORES)], given_), given_, {"hat": 5, "long hair": 9})


CASES = {
    "plain": ({}, ("^_^", "long hair", "who")),
    "lower": ({"threshold": 0.3}, ("^_^", "long hair", "who", "hat")),
    "character": ({"character_threshold": 0.8}, ("^_^", "long hair", "miku (append) (vocaloid)", "who")),
    "characters first": (
        {"character_threshold": 0.8, "characters": "first"},
        ("miku (append) (vocaloid)", "^_^", "long hair", "who"),
    ),
    "expanded": (
        {"character_threshold": 0.8, "expand_characters": True, "sort": "model"},
        ("long hair", "^_^", "miku (append)", "vocaloid", "who"),
    ),
    "kept underscores": ({"underscores": "keep"}, ("^_^", "long_hair", "who")),
    "escaped": (
        {"character_threshold": 0.8, "escape": True, "undesired": ("^_^", "who")},
        ("long hair", r"miku \(append\) \(vocaloid\)"),
    ),
    "category": ({"category_threshold": ("artist=0.6",)}, ("^_^", "long hair")),
    "rating first": ({"rating": "first", "quality": "last"}, ("general", "^_^", "long hair", "who", "best")),
    "undesired in either spelling": ({"undesired": ("long_hair",)}, ("^_^", "who")),
    "always first, in order": ({"always_first": ("who", "absent", "long hair")}, ("who", "long hair", "^_^")),
    "replaced": ({"replace": ("long hair=wig", "who=", "wig=x")}, ("^_^", "wig")),
    "alphabet": ({"sort": "alphabet", "threshold": 0.3}, ("^_^", "hat", "long hair", "who")),
    "frequency": ({"sort": "frequency", "threshold": 0.3}, ("long hair", "hat", "^_^", "who")),
    "model order": ({"sort": "model", "threshold": 0.3}, ("long hair", "^_^", "hat", "who")),
}  # fmt: skip


@pytest.mark.parametrize(("options", "expected"), CASES.values(), ids=CASES)
def test_words(options, expected):
    assert chosen(**options) == expected


def test_replacement_works_where_sd_scripts_has_none():
    """sd-scripts overwrites the list it replaces in; here the others stay as they are."""
    assert chosen(replace=("long_hair=short hair",)) == ("^_^", "short hair", "who")


def two(combine: str, **options) -> dict[str, float]:
    a = Opinion((Tag("both_x"), Tag("first")), {0: 0.5, 1: 0.6})
    b = Opinion((Tag("both x"), Tag("second")), {0: 0.3, 1: 0.6})
    given_ = TagOptions(folder=Path(), combine=combine, **options)
    return {each.tag.name: round(each.score, 6) for each in choose([a, b], given_)}


def test_two_taggers():
    assert two("union") == {"both_x": 0.5, "first": 0.6, "second": 0.6}
    assert two("max", threshold=0.55) == {"first": 0.6, "second": 0.6}
    assert two("mean", threshold=0.4) == {"both_x": 0.4, "first": 0.6, "second": 0.6}
    assert two("mean", threshold=0.41) == {"first": 0.6, "second": 0.6}
    assert two("intersection", threshold=0.3) == {"both_x": 0.4}
    assert two("intersection", threshold=0.31) == {}


def test_a_tagger_that_knows_a_tag_but_is_unsure_pulls_the_mean_down():
    a = Opinion((Tag("x"),), {0: 0.6})
    b = Opinion((Tag("x"),), {})  # below the lowest score that is kept
    given_ = TagOptions(folder=Path(), combine="mean", threshold=0.35)
    assert choose([a, b], given_) == []
    assert len(choose([a, b], given_.model_copy(update={"threshold": 0.3}))) == 1


names = st.text("abc _()", min_size=1, max_size=6).map(str.strip).filter(lambda t: t.strip("_ "))
opinions = st.dictionaries(names, st.floats(0.01, 1), max_size=8)


@given(opinions, st.floats(0.01, 1), st.floats(0.01, 1))
def test_a_higher_threshold_gives_a_part_of_the_tags(scored, low, high):
    low, high = sorted((low, high))
    opinion = Opinion([Tag(name) for name in scored], dict(enumerate(scored.values())))
    few, many = (
        {each.tag.name for each in choose([opinion], TagOptions(folder=Path(), threshold=t))}
        for t in (high, low)
    )
    assert few <= many


@given(opinions, st.sampled_from(["score", "alphabet", "frequency", "model"]))
def test_order_loses_no_tag_and_writes_none_twice(scored, sort):
    opinion = Opinion([Tag(name) for name in scored], dict(enumerate(scored.values())))
    given_ = TagOptions(folder=Path(), sort=sort, threshold=0.01, underscores="keep")
    found = words(choose([opinion], given_), given_, {})
    assert len(set(found)) == len(found)
    assert {name.replace("_", " ").strip() for name in found} == {
        n.replace("_", " ").strip() for n in scored
    }


lines = st.text("ab ,\n", max_size=12)
tags = st.lists(st.sampled_from(["a", "b", "new", "c d"]), unique=True, max_size=4)


@given(lines, tags, st.sampled_from(["append", "prepend"]))
def test_adding_keeps_every_line_and_is_done_once(old, new, how):
    once = met(old, new, how)
    if old.strip():
        for line, after in zip(old.strip().splitlines(), once.splitlines(), strict=True):
            assert line.strip() in after
        assert met(once, new, how) == once
    else:
        assert once == ", ".join(new)


def test_a_sentence_is_added_once():
    assert met("a cat", ("a dog, red",), "append") == "a cat, a dog, red"
    assert met("a cat, a dog, red", ("a dog, red",), "append") == "a cat, a dog, red"
