"""C3: an expression that tries everything ends in a line, and nothing else waits for it."""

from __future__ import annotations

import contextlib
import re
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renma.core.errors import UserError
from renma.core.expression import EndlessError, Expression

ENDLESS = "(a|aa)+$"


@pytest.mark.parametrize("call", ["found_in", "replaced"])
@pytest.mark.timed
def test_it_ends_and_says_so(call: str):
    made = Expression(ENDLESS, "--search", patience=0.2)
    given_ = ("a" * 60 + "!",) if call == "found_in" else ("", "a" * 60 + "!")
    begun = time.perf_counter()
    with pytest.raises(UserError, match=r"--search: the regular expression .* takes too long"):
        getattr(made, call)(*given_)
    assert time.perf_counter() - begun < 5


@pytest.mark.parametrize("expression", ["(a+)+$", "(a*)*$", "([a-z]+)*$", "(.*a){25}x"])
@pytest.mark.timed
def test_whatever_it_is_it_ends(expression: str):
    """The answer, where it is found in time, is the right one: none of them fits."""
    begun = time.perf_counter()
    with contextlib.suppress(EndlessError):
        assert not Expression(f"^{expression}", "x", patience=0.2).found_in("a" * 40 + "!")
    assert time.perf_counter() - begun < 5


@pytest.mark.timed
def test_many_texts_share_the_time():
    """No text takes it all, and yet a thousand of them do not take an hour."""
    made = Expression(ENDLESS, "x", patience=0.2)
    begun = time.perf_counter()
    texts = ["a" * 26 + "!"] * 1000  # some 40 milliseconds each
    with pytest.raises(UserError, match="takes too long"):
        list(map(made.found_in, texts))
    assert time.perf_counter() - begun < 5


def test_other_threads_work_on():
    made, ticks = Expression(ENDLESS, "x", patience=0.5), 0

    def match() -> None:
        with pytest.raises(UserError):
            made.found_in("a" * 60 + "!")

    thread = threading.Thread(target=match)
    thread.start()
    while thread.is_alive():
        ticks += 1
        time.sleep(0.01)
    assert ticks > 5


@given(
    st.sampled_from(["a", "^b|c$", r"(\w)\1", r"(?P<x>a)b?", r"\d+|[^,]", "(?i)A", "a*?", "$", ""]),
    st.sampled_from(["", "-", r"<\g<0>>", r"\n"]),
    st.text("aAbc1, \n", max_size=12),
)
def test_it_does_what_python_does(expression: str, new: str, text: str):
    made = Expression(expression, "x")
    made.check(new)
    assert made.replaced(new, text) == re.sub(expression, new, text)
    assert made.found_in(text) == bool(re.search(expression, text))


@pytest.mark.parametrize("expression", ["(", "a{2,1}", "(?P<1>a)", "*", r"\g"])
def test_mistakes_are_told_in_pythons_words(expression: str):
    with pytest.raises(re.error) as told:
        re.compile(expression)
    with pytest.raises(re.error, match=re.escape(told.value.msg)):
        Expression(expression, "x")


def test_what_takes_the_place_is_checked_without_a_match():
    with pytest.raises(re.error, match="invalid group reference 2"):
        Expression("(a)", "x").check(r"\2")
    with pytest.raises(re.error, match="unknown group name"):
        Expression("(?P<b>a)", "x").check(r"\g<c>")
    Expression("((|){40}){40}x", "x").check(r"\1")  # at once: nothing is looked for
