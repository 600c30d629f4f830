"""Lists and ranges behind an axis, as X/Y/Z plots of web UIs read them (F1)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from renma.core.errors import UserError
from renma.judge.grid.values import numbers, split, whole_numbers


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a, b ,c", ["a", "b", "c"]),
        ('"aa12, smile" , cat', ["aa12, smile", "cat"]),
        ("'a, b','c'", ["a, b", "c"]),
        ('"say ""hi"", you"', ['say "hi", you']),
        ("don't,'tis", ["don't", "'tis"]),
        ('"",x,,', ["", "x"]),
        ("", []),
        ("1,0.5,", ["1", "0.5"]),
    ],
)
def test_lists_are_split_at_commas_outside_of_quotes(text, found):
    assert split(text, "--x") == found


@given(st.lists(st.text(max_size=8), max_size=5))
def test_whatever_is_quoted_comes_back(values):
    text = " , ".join('"' + value.replace('"', '""') + '"' for value in values)
    assert split(text, "--x") == values


@pytest.mark.parametrize("text", ['"a, b', '"a"b,c'])
def test_a_broken_quote_is_said(text):
    with pytest.raises(UserError, match="quote"):
        split(text, "--x prompt")


@given(st.integers(-50, 50), st.integers(0, 60), st.sampled_from(["0.25", "0.1", "1", "3", "0.7"]))
def test_steps_are_numpys_without_its_rounding(first, length, step):
    """0-1(+0.1) has 11 values that end in 1; numpy.arange may go past the end."""
    last = first + length
    expected = first + np.arange(int(length / float(step) + 1e-9) + 1) * float(step)
    found = numbers([f"{first}-{last} (+{step})"], "--x")
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert found[-1] <= last
    down = numbers([f"{last}-{first} (-{step})"], "--x")
    np.testing.assert_allclose(down, last + first - expected, atol=1e-12)


def test_numbers_written_out_are_exact():
    assert numbers(["0-1(+0.1)"], "--x") == [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1]
    assert numbers(["0.5", "0-1 [3]", "1e-1"], "--x") == [0.5, 0, 1, 0.1]
    assert numbers(["-1--0.5(+0.5)"], "--x") == [-1, -0.5]
    assert numbers(["3-1"], "--x") == [3, 2, 1]
    assert numbers(["2-7[1]"], "--x") == [2]


def test_whole_numbers_round_points_and_refuse_the_rest():
    assert whole_numbers(["1-10 [5]", "7", "2-6(+2)"], "--x") == [1, 3, 6, 8, 10, 7, 2, 4]
    with pytest.raises(UserError, match=r"2\.5 is no whole number"):
        whole_numbers(["2.5"], "--x seed")
    with pytest.raises(UserError, match="no whole number"):
        whole_numbers(["0-1(+0.5)"], "--x seed")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("smile", "no number"),
        ("nan", "no number"),
        ("1-0(+0.5)", "never gets"),
        ("0-1(0)", "never gets"),
        ("1-9999", "more than 1,000"),
        ("1-5[0]", "asks for 0"),
    ],
)
def test_what_is_no_range_is_said(text, reason):
    with pytest.raises(UserError, match=reason) as caught:
        numbers([text], "--x cfg")
    assert caught.value.where == "--x cfg"
