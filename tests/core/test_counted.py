"""Numbers and the words that go with them."""

from __future__ import annotations

import pytest

from renma.core.counted import counted, idle, times


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 pictures"), (1, "1 picture"), (2, "2 pictures"), (1234, "1,234 pictures")],
)
def test_nouns(number: int, text: str):
    assert counted(number, "picture") == text


def test_nouns_of_their_own():
    assert [counted(n, "batch", "batches") for n in (1, 3)] == ["1 batch", "3 batches"]


@pytest.mark.parametrize(
    ("least", "most", "text"),
    [(1, None, "once"), (1, 1, "once"), (0, None, "0 times"), (1, 2, "1 to 2 times"), (2.5, None, "2.5 times"), (0, 1200, "0 to 1,200 times")],
)  # fmt: skip
def test_how_often(least: float, most: float | None, text: str):
    assert times(least, most) == text


def test_options_without_effect():
    assert idle(["a"]) == "a has no effect"
    assert idle(["a", "b"]) == "a, b have no effect"
