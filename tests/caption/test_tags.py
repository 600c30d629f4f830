"""Edits of tag lists: laws over random captions (C3)."""

from __future__ import annotations

import fnmatch
import re
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renma.caption import tags as edits
from renma.caption.implications import Implications
from renma.caption.near import near
from renma.core.errors import UserError

TAG = st.sampled_from(
    ["1girl", "long_hair", "long hair", "^_^", "||_||", "hat", "red hat", "a (b)", r"a \(b\)", "x*"]
)
TAGS = st.lists(TAG, max_size=8).map(tuple)
FREE = st.text(st.characters(exclude_characters=",", exclude_categories=["C", "Z"]), min_size=1)


@given(st.lists(FREE, max_size=6).map(tuple))
def test_parse_reads_what_join_writes(tags):
    assert edits.parse(edits.join(tags)) == tags
    assert edits.parse(f" ,{edits.join(tags, ' ,, ')},") == tags


@given(TAGS, st.lists(TAG, max_size=3), st.one_of(st.none(), st.integers(0, 9)))
def test_adding_loses_nothing_and_adds_once(tags, new, at):
    found = edits.add(tags, new, at)
    fresh = [tag for tag in dict.fromkeys(new) if tag not in tags]
    assert Counter(found) == Counter(tags) + Counter(fresh)
    assert [t for t in found if t not in fresh] == [*tags]
    if fresh:
        assert found.index(fresh[0]) == min(len(tags) if at is None else at, len(tags))
    assert edits.add(found, new, at) == found


@given(TAGS, st.lists(TAG, min_size=1, max_size=3))
def test_prepend_and_append_move_and_do_so_once(tags, words):
    for move, slot in (
        (edits.prepend, slice(None, len(set(words)))),
        (edits.append, slice(-len(set(words)), None)),
    ):
        found = move(tags, words)
        assert found[slot] == tuple(dict.fromkeys(words))
        assert set(found) == {*tags, *words}
        assert [t for t in found if t not in words] == [t for t in tags if t not in words]
        assert move(found, words) == found


@given(TAGS, TAG, st.just("other"))
def test_replacing_there_and_back_is_the_identity(tags, old, new):
    pattern = old.replace("*", r"\*")
    there = edits.replace(tags, pattern, (new,))
    assert len(there) == len(tags)
    assert old not in there
    assert edits.replace(there, new, (pattern,)) == tags


def test_replacing_by_a_tag_that_is_there_writes_it_once():
    assert edits.replace(("a", "b", "c"), "a", ("b",)) == ("b", "c")
    assert edits.replace(("a", "c", "a"), "a", ("b", "d")) == ("b", "d", "c", "b", "d")
    assert edits.replace(("a",), "a", ("a", "b")) == ("a", "b")


def test_stars_carry_over():
    assert edits.replace(("long blue hair", "hat"), "* blue *", ("* green *",)) == (
        "long green hair",
        "hat",
    )
    assert edits.replace(("x*", "xy"), r"x\*", (r"y\*",)) == ("y*", "xy")
    assert edits.replace(("blue hair",), "* hair", ("hair", "*")) == ("hair", "blue")


@given(st.text("ab*", min_size=1, max_size=4), st.text("ab*", max_size=5))
def test_a_star_is_the_one_of_file_names(pattern, tag):
    assert edits.like(pattern)(tag) == bool(re.match(fnmatch.translate(pattern), tag))


@given(TAGS, st.lists(TAG, max_size=3))
def test_removing_takes_those_tags_only(tags, gone):
    patterns = [tag.replace("*", r"\*") for tag in gone]
    assert edits.remove(tags, *patterns) == tuple(tag for tag in tags if tag not in gone)


@given(TAGS, st.sampled_from(["alphabet", "frequency", "length"]))
def test_sorting_keeps_every_tag_and_is_done_once(tags, by):
    found = edits.sort(tags, by, Counter(tags))
    assert Counter(found) == Counter(tags)
    assert edits.sort(found, by, Counter(tags)) == found
    keys = {"alphabet": str.lower, "length": len, "frequency": lambda tag: -tags.count(tag)}
    values = [keys[by](tag) for tag in found]
    assert all(a <= b for a, b in pairwise(values))


@given(TAGS)
def test_duplicates_go_and_nothing_else(tags):
    found = edits.dedupe(tags)
    assert len(found) == len(set(found)) == len(set(tags))
    assert [*found] == sorted(set(tags), key=tags.index)
    assert edits.dedupe(tags, tags) == ()


def test_faces_keep_their_underscores():
    """The faces that WD taggers write, and tags that look like one."""
    faces = [
        "0_0",
        "(o)_(o)",
        "+_+",
        "+_-",
        "._.",
        "<o>_<o>",
        "<|>_<|>",
        "=_=",
        ">_<",
        "3_3",
        "6_9",
        ">_o",
        "@_@",
        "^_^",
        "o_o",
        "u_u",
        "x_x",
        "|_|",
        "||_||",
    ]
    assert edits.to_spaces(tuple(faces)) == tuple(faces)
    assert edits.to_spaces(("long_hair", "1_girl", "score_9")) == ("long hair", "1 girl", "score 9")
    assert edits.to_underscores(("long hair",)) == ("long_hair",)


@given(TAGS)
def test_escaping_is_done_once_and_undone(tags):
    assert edits.escape(edits.escape(tags)) == edits.escape(tags)
    assert edits.unescape(edits.escape(tags)) == edits.unescape(tags)
    assert edits.escape(("a (b)", r"a \(b)")) == (r"a \(b\)", r"a \(b\)")


@given(TAGS, st.integers(1, 20), st.integers(0, 3))
def test_shortening_takes_from_the_end_as_little_as_is_needed(tags, limit, keep):
    def letters(t):
        return len(", ".join(t))

    found = edits.truncate(tags, limit, letters, keep)
    assert found == tags[: len(found)]
    assert letters(found) <= limit or len(found) <= keep
    if len(found) < len(tags):
        assert letters(tags[: len(found) + 1]) > limit


@given(
    st.dictionaries(st.sampled_from("abcd"), st.lists(st.sampled_from("cdefg"), max_size=3)),
    st.lists(st.sampled_from("abcdefg"), unique=True),
)
def test_implied_tags_are_those_that_can_be_reached(direct, tags):
    edges = {(a, b) for a, bs in direct.items() for b in bs}
    reach = set(edges)
    while more := {(a, d) for a, b in reach for c, d in reach if b == c} - reach:
        reach |= more
    if any(a == b for a, b in reach):
        with pytest.raises(UserError, match="implies itself"):
            Implications({a: tuple(bs) for a, bs in direct.items()})
        return
    table = Implications({a: tuple(bs) for a, bs in direct.items()})
    said = {b for a, b in reach if a in tags}
    assert table.drop(tuple(tags)) == tuple(tag for tag in tags if tag not in said)
    full = table.add(tuple(tags))
    assert full[: len(tags)] == tuple(tags)
    assert set(full) == {*tags, *said}
    assert len(set(full)) == len(full)
    assert table.drop(full) == table.drop(tuple(tags))


def test_near_misses_are_told():
    """C3: a tag is compared letter by letter, so the one that was meant is named."""
    counts = {"blue_hair": 12, "Blue hair": 2, "hat": 1, r"a \(b\)": 3}
    assert (
        near("blue hair", counts)
        == "no caption has 'blue hair'; 12 have 'blue_hair', 2 have 'Blue hair'"
    )
    assert near("a (b)", counts) == r"no caption has 'a (b)'; 3 have 'a \(b\)'"
    assert near("blue ha*", counts).endswith("12 have 'blue_hair', 2 have 'Blue hair'")
    assert near("hats", counts) == "no caption has 'hats'. Did you mean 'hat'?"
    assert near("zebra", counts) == "no caption has 'zebra'."
