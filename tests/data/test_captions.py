"""What a showing says: marks, wildcards, warm-up, separators - the order of operations (C6-C8)."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renma.config.data import Subset
from renma.data.captions import plain_caption, shown_caption, tags, variants
from renma.data.item import Item

TEN = ", ".join("abcdefghij")


def item(caption: str, **options) -> Item:
    subset = Subset(image_dir="x", **options)
    return Item(Path("a.png"), 64, 64, caption, True, subset, "d")


def shown(one: Item, count: int = 200, **place) -> list[str]:
    return [shown_caption(one, 0, 0, position, **place) for position in range(count)]


def test_marks_keep_head_and_tail_in_place():
    """C7: only what stands between the marks moves; keep_tokens then counts for nothing."""
    marks = {"keep_tokens_separator": "|||", "shuffle_caption": True, "keep_tokens": 3}
    one = item("aa12, person ||| a, b, c, d ||| best, last", **marks)
    found = {tuple(tags(text)) for text in shown(one)}
    assert {row[:2] for row in found} == {("aa12", "person")}
    assert {row[-2:] for row in found} == {("best", "last")}
    assert {frozenset(row[2:-2]) for row in found} == {frozenset("abcd")}
    assert len(found) == 24
    assert not any("|" in text for text in shown(one))


def test_one_mark_leaves_no_tail_and_none_is_as_keep_tokens():
    one = item("aa12 ||| a, b", keep_tokens_separator="|||", caption_tag_dropout_rate=1.0)
    assert set(shown(one)) == {"aa12"}
    without = item("aa12, a, b", keep_tokens_separator="|||", caption_tag_dropout_rate=1.0)
    assert set(shown(without)) == {""}
    kept = item("aa12, a", keep_tokens_separator="|||", caption_tag_dropout_rate=1.0, keep_tokens=1)
    assert set(shown(kept)) == {"aa12"}


def test_a_mark_never_stays_in_the_text():
    """sd-scripts trains on the mark itself where nothing moves."""
    one = item("aa12, x ||| a,b ||| z", keep_tokens_separator="|||")
    assert set(shown(one, 5)) == {"aa12, x, a, b, z"}
    assert plain_caption(one) == "aa12, x, a, b, z"


@pytest.mark.parametrize(("step", "count"), [(0, 1), (25, 5), (50, 10), (49, 9), (1000, 10)])
def test_warm_up_shows_more_and_more_tags(step: int, count: int):
    """C7: counts measured on sd-scripts for 10 tags, warm-up 50, least 1."""
    for until, steps in ((50, 500), (0.1, 500)):
        one = item(TEN, token_warmup_step=until)
        assert shown_caption(one, 0, 0, 0, step, steps) == ", ".join("abcdefghij"[:count])


def test_warm_up_cuts_before_it_shuffles_and_spares_what_is_kept():
    one = item(f"aa12, {TEN}", token_warmup_step=50, shuffle_caption=True, keep_tokens=1)
    found = shown(one, step=25, steps=100)
    assert {frozenset(tags(text)) for text in found} == {frozenset(["aa12", *"abcde"])}
    assert {tags(text)[0] for text in found} == {"aa12"}
    assert len(set(found)) > 40


def test_warm_up_with_fewer_tags_than_the_least():
    one = item("a, b", token_warmup_step=50, token_warmup_min=5)
    assert [shown_caption(one, 0, 0, 0, step, 100) for step in (0, 49)] == ["a, b", "a, b"]


@given(st.lists(st.text("abc |{}", max_size=6), min_size=1, max_size=4), st.integers(0, 99))
def test_bound_tags_move_as_one(groups: list[str], position: int):
    """C7: a secondary separator becomes the separator only when all has moved."""
    groups = [f"x{i}{group.strip()}" for i, group in enumerate(groups)]
    one = item(
        ", ".join(f"{g};;;{g}2" for g in groups), secondary_separator=";;;", shuffle_caption=True
    )
    found = shown_caption(one, 0, 0, position)
    assert ";;;" not in found
    assert Counter(found.split(", ")) == Counter(f"{g},{g}2" for g in groups)


def test_tags_are_joined_as_they_were_split():
    """sd-scripts joins with a comma whatever the separator."""
    for separator, joined in ((";", "; "), (" ", " "), (" | ", " | "), ("、", "、 ")):
        one = item(separator.join("abc"), caption_separator=separator, shuffle_caption=True)
        assert set(shown(one, 60)) <= {
            joined.join(p) for p in ("abc", "acb", "bac", "bca", "cab", "cba")
        }


def test_each_showing_chooses_a_line_and_a_part():
    one = item("a {red|blue} cat\nthe {{dog}}", enable_wildcard=True)
    counts = Counter(shown(one, 900))
    assert set(counts) == {"a red cat", "a blue cat", "the {dog}"}
    assert 380 < counts["the {dog}"] < 520
    assert 170 < counts["a red cat"] < 280


def test_every_line_gets_prefix_and_suffix():
    """sd-scripts puts the prefix before the first line only."""
    one = item("one\ntwo", enable_wildcard=True, caption_prefix="{p|q},", caption_suffix=", s")
    expected = {f"{p}, {line} , s" for p in "pq" for line in ("one", "two")}
    assert set(shown(one)) == expected


def test_braces_and_lines_mean_nothing_without_wildcards():
    assert shown_caption(item("{a|b}"), 0, 0, 0) == "{a|b}"


def test_dropout_takes_prefix_and_kept_tags_along():
    """C8: nothing survives the drop of a whole caption."""
    one = item("aa12, x", caption_dropout_rate=0.5, caption_prefix="p", keep_tokens=2)
    assert set(shown(one)) == {"", "p aa12, x"}


def test_wildcards_change_neither_shuffle_nor_dropout():
    plain = item(TEN, shuffle_caption=True, caption_dropout_rate=0.3)
    wild = item(TEN, shuffle_caption=True, caption_dropout_rate=0.3, enable_wildcard=True)
    assert shown(plain) == shown(wild)


def test_empty_tags_are_left_out_when_tags_move():
    assert set(shown(item("a,,b,", shuffle_caption=True), 40)) == {"a, b", "b, a"}


@pytest.mark.parametrize(
    ("caption", "options", "found"),
    [
        ("a, b", {}, ["a, b"]),
        ("a, b", {"caption_dropout_rate": 0.1}, ["a, b", ""]),
        ("a, b", {"caption_dropout_every_n_epochs": 2, "caption_prefix": "p"}, ["p a, b", ""]),
        ("a, b", {"shuffle_caption": True}, None),
        ("a, b", {"shuffle_caption": True, "keep_tokens": 1}, ["a, b"]),
        ("a, b", {"caption_tag_dropout_rate": 0.1}, None),
        ("a, b", {"token_warmup_step": 3}, None),
        ("{a|b}", {"enable_wildcard": True}, None),
        ("a\nb", {"enable_wildcard": True}, None),
        ("a {{b}}", {"enable_wildcard": True}, ["a {b}"]),
        ("{a|b}", {}, ["{a|b}"]),
    ],
)
def test_all_that_can_be_shown_is_known_ahead(caption: str, options: dict, found):
    """E7: text encoder output is cached by final caption, or not at all."""
    one = item(caption, **options)
    assert variants(one) == found
    if found is not None:
        seen = {shown_caption(one, 3, e, p) for e in range(4) for p in range(100)}
        assert seen == set(found)


@given(
    caption=st.text("ab,{}|;\n ", max_size=30),
    options=st.fixed_dictionaries(
        {
            "enable_wildcard": st.booleans(),
            "shuffle_caption": st.booleans(),
            "caption_dropout_rate": st.sampled_from([0.0, 0.4]),
            "secondary_separator": st.sampled_from(["", ";"]),
            "keep_tokens_separator": st.sampled_from(["", "|"]),
        }
    ),
)
def test_no_showing_says_what_was_not_foreseen(caption: str, options: dict):
    one = item(caption, **options)
    found = variants(one)
    if found is not None:
        assert {shown_caption(one, 1, e, p) for e in range(2) for p in range(30)} <= set(found)
