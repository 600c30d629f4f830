"""Charts: points where the numbers say, round ticks that cover them."""

from __future__ import annotations

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from renma.judge.chart import chart, number, smoothed, thinned, ticks

NUMBERS = st.floats(-1e6, 1e6, allow_nan=False)


@given(NUMBERS, NUMBERS)
def test_ticks_cover_and_are_few_and_round(a: float, b: float) -> None:
    low, high = min(a, b), max(a, b)
    assume(high - low > 1e-6 * max(1, abs(low), abs(high)))
    found = ticks(low, high)
    step = found[1] - found[0]
    slack = 1e-6 * step
    assert found[0] <= low + slack
    assert found[-1] >= high - slack
    assert 2 <= len(found) <= 8
    mantissa = step / 10 ** math.floor(math.log10(step) + 1e-9)
    assert min(abs(mantissa - m) for m in (1, 2, 5, 10)) < 1e-3


def points(path: str) -> list[tuple[float, float]]:
    pairs = (pair.split(",") for pair in path.split())
    return [(float(x), float(y)) for x, y in pairs]


def test_points_lie_between_their_ticks() -> None:
    one = chart("t", [("a", "main", [(0, 0.0), (50, 1.0), (100, 2.0)])], from_zero=True)
    assert one is not None
    drawn = points(one.lines[0].path)
    assert drawn[0] == pytest.approx((one.left, one.bottom), abs=0.1)
    assert drawn[2] == pytest.approx((one.right, one.top), abs=0.1)
    middle = ((one.left + one.right) / 2, (one.top + one.bottom) / 2)
    assert drawn[1] == pytest.approx(middle, abs=0.1)
    labels = {tick.label: tick.at for tick in one.y}
    assert labels["0"] == pytest.approx(one.bottom, abs=0.1)
    assert labels["1"] == pytest.approx(drawn[1][1], abs=0.1)


def test_a_spike_is_cut_at_the_edge_and_nan_left_out() -> None:
    rows = [(float(i), 1.0 + i % 2) for i in range(400)]
    rows[100], rows[200] = (100.0, 1e9), (200.0, math.nan)
    one = chart("t", [("a", "main", rows)], from_zero=True)
    assert one is not None
    drawn = points(one.lines[0].path)
    assert len(drawn) == 399
    assert min(y for _, y in drawn) == one.top
    assert drawn[99][1] == one.top
    # the ordinary values still use the height
    assert drawn[1][1] < (one.top + one.bottom) / 2


def test_too_little_to_draw() -> None:
    assert chart("t", [("a", "main", [(1, 1.0)])], from_zero=False) is None
    assert chart("t", [], from_zero=False) is None
    assert chart("t", [("a", "main", [(1, 2.0), (2, 2.0)])], from_zero=False) is not None


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=50))
def test_smoothing_stays_within_the_data(values: list[float]) -> None:
    found = smoothed(list(enumerate(values)), share=0.3)
    assert found[0][1] == pytest.approx(values[0])
    assert all(min(values) - 1e-6 <= y <= max(values) + 1e-6 for _, y in found)
    assert smoothed([(0, 3.0), (1, 3.0)], share=2)[1][1] == pytest.approx(3.0)


def test_thinning_keeps_the_mean() -> None:
    rows = [(float(i), float(i * i)) for i in range(1000)]
    found = thinned(rows, 100)
    assert len(found) == 100
    assert sum(y for _, y in found) / 100 == pytest.approx(sum(y for _, y in rows) / 1000)
    assert thinned(rows[:50], 100) == rows[:50]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.05, "0.05"), (1e-4, "1e-4"), (2.5e-5, "2.5e-5"), (1600, "1600"), (2e6, "2e6")],
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert number(value) == text
