"""Charts: points where the numbers say, round ticks that cover them."""

from __future__ import annotations

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from renma.judge.report.chart import Curve, chart, number, smoothed, thinned, ticks

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
    one = chart("t", [Curve("a", "main", [(0, 0.0), (50, 1.0), (100, 2.0)])], from_zero=True)
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
    one = chart("t", [Curve("a", "main", rows)], from_zero=True)
    assert one is not None
    drawn = points(one.lines[0].path)
    assert len(drawn) == 399
    assert min(y for _, y in drawn) == one.top
    assert drawn[99][1] == one.top
    # the ordinary values still use the height
    assert drawn[1][1] < (one.top + one.bottom) / 2


def test_uncertainty_goes_up_and_down_from_its_point() -> None:
    rows = [(0.0, 1.0), (1.0, 2.0), (2.0, 3.0)]
    one = chart("t", [Curve("a", "main", rows, dots=True, errors=(0.5, 0.0, 0.25))], from_zero=True)
    assert one is not None
    # 3.25 is within the axis, whose next round number is 4
    unit = (one.bottom - one.top) / 4
    (line,) = one.lines
    for (across, upper, lower), (x, y), error in zip(
        line.bars, line.dots, (0.5, 0, 0.25), strict=True
    ):
        assert across == x
        assert lower == pytest.approx(y + error * unit)
        assert upper == pytest.approx(y - error * unit)
    some = chart("t", [Curve("a", "main", rows, errors=(0.5,))], from_zero=True)
    assert some is not None
    assert some.lines[0].bars == ()


def test_levels_stretch_the_axis_and_a_mark_lies_at_its_step() -> None:
    rows = [(10.0, 0.4), (20.0, 0.6)]
    curve = Curve("a", "main", rows)
    one = chart(
        "t",
        [curve],
        from_zero=False,
        levels=[("low", 0.0), ("high", 1.0), ("x", math.nan)],
        marked=15,
    )
    assert one is not None
    assert [(level.label, level.at) for level in one.levels] == [
        ("low", one.bottom),
        ("high", one.top),
    ]
    assert one.marked == pytest.approx((one.left + one.right) / 2)
    assert one.about == (
        "a: 0.4 at step 10, 0.6 at step 20, lowest 0.4 at step 10, highest 0.6 at step 20. low: 0. high: 1."
    )
    beyond = chart("t", [curve], from_zero=False, marked=99)
    assert beyond is not None
    assert beyond.marked is None


def test_too_little_to_draw() -> None:
    assert chart("t", [Curve("a", "main", [(1, 1.0)])], from_zero=False) is None
    assert chart("t", [], from_zero=False) is None
    assert chart("t", [Curve("a", "main", [(1, 2.0), (2, 2.0)])], from_zero=False) is not None


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
