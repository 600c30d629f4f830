"""Line charts as numbers for an inline SVG: scaled points, ticks, labels (no torch, no script).

A chart can be read without its colours: curves differ in dashes, too, and words say what it shows.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 480, 210
LEFT, RIGHT, TOP, BOTTOM = 56, 14, 12, 30  # pixels of the drawing around the plot
MOST_POINTS = 500

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Curve:
    """What is to be drawn.

    Attributes:
        name: for the legend.
        style: its class in the page: main, faint, second, third.
        points: (step, value); what is not finite is left out.
        dots: whether each point gets a dot.
        errors: how uncertain each point is, as a bar up and down; none where there are others.
    """

    name: str
    style: str
    points: Points
    dots: bool = False
    errors: Sequence[float] = ()


@dataclass(frozen=True)
class Line:
    """One curve: its name, its style class in the page, points in drawing pixels."""

    name: str
    style: str
    path: str
    dots: tuple[tuple[float, float], ...] = ()
    bars: tuple[tuple[float, float, float], ...] = ()
    """(across, upper end, lower end) of each point's uncertainty."""


@dataclass(frozen=True)
class Tick:
    """A grid line or a level with its label."""

    at: float
    label: str


@dataclass(frozen=True)
class Chart:
    """Everything the template draws; ``about`` says it in words."""

    title: str
    about: str
    lines: tuple[Line, ...]
    x: tuple[Tick, ...]
    y: tuple[Tick, ...]
    levels: tuple[Tick, ...] = ()
    marked: float | None = None
    note: str = ""
    by: str = "step"
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


def chart(
    title: str,
    curves: Iterable[Curve],
    *,
    from_zero: bool,
    levels: Iterable[tuple[str, float]] = (),
    marked: float | None = None,
    note: str = "",
    by: str = "step",
) -> Chart | None:
    """Returns a chart, or None without two points in any curve.

    The upper end leaves out the highest hundredth of values, so that one spike does not flatten
    the rest; what lies beyond is drawn at the edge.

    Args:
        title: what is measured.
        curves: drawn in this order.
        from_zero: whether the value axis begins at 0.
        levels: values that the curves are held against, as level lines.
        marked: a step to mark, such as the best checkpoint's.
        note: a few words for the legend.
        by: what is across.
    """
    finite = [(curve, _finite(curve.points)) for curve in curves]
    xs = [x for _, points in finite if len(points) > 1 for x, _ in points]
    if not xs:
        return None
    kept = [(curve, thinned(points)) for curve, points in finite if len(points) > 1]
    held = [(name, value) for name, value in levels if math.isfinite(value)]
    ends = [value for _, value in held]
    for curve, points in kept:
        if len(curve.errors) == len(points):
            pairs = list(zip(points, curve.errors, strict=True))
            ends += [y - e for (_, y), e in pairs] + [y + e for (_, y), e in pairs]
    ys = sorted(y for _, points in kept for _, y in points)
    low = min(0.0 if from_zero else ys[0], ys[0], *ends)
    high = max(ys[min(len(ys) - 1, math.ceil(len(ys) * 0.99))], low, *ends)
    y_ticks = ticks(low, high)
    span_y = (min(low, y_ticks[0]), max(high, y_ticks[-1]))
    span_x = (min(xs), max(xs))
    within = marked is not None and span_x[0] <= marked <= span_x[1]
    return Chart(
        title,
        " ".join([*(_words(curve.name, points, by) for curve, points in kept), *map(_level, held)]),
        tuple(_line(curve, points, span_x, span_y) for curve, points in kept),
        tuple(Tick(_across(x, span_x), number(x)) for x in ticks(*span_x) if _in(x, span_x)),
        tuple(Tick(_down(y, span_y), number(y)) for y in y_ticks),
        tuple(Tick(_down(value, span_y), name) for name, value in held),
        _across(marked, span_x) if within and marked is not None else None,
        note,
        by,
    )


def smoothed(points: Points, share: float = 0.05) -> list[tuple[float, float]]:
    """Returns the exponential mean over about ``share`` of the points, corrected at its start."""
    keep = 1 - 1 / max(1.0, len(points) * share)
    total = weight = 0.0
    result = []
    for x, y in points:
        total, weight = keep * total + (1 - keep) * y, keep * weight + (1 - keep)
        result.append((x, total / weight))
    return result


def thinned(points: Points, most: int = MOST_POINTS) -> list[tuple[float, float]]:
    """Returns at most ``most`` points, each the mean of its neighbours."""
    if len(points) <= most:
        return list(points)
    edges = [i * len(points) // most for i in range(most + 1)]
    groups = [points[a:b] for a, b in itertools.pairwise(edges)]
    return [(sum(x for x, _ in g) / len(g), sum(y for _, y in g) / len(g)) for g in groups]


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Returns round numbers (1, 2, 5 times a power of ten) that cover low to high."""
    if high - low < 1e-290:  # nor can a tenth of it be told from 0
        return [low, low + (abs(low) or 1.0)]
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [i * step for i in range(first, last + 1)]


def number(value: float) -> str:
    """Returns a short form: 1200, 0.05, 1e-4."""
    if value and (abs(value) < 0.001 or abs(value) >= 1e6):
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{mantissa.removesuffix('.0')}e{int(exponent)}"
    return f"{value:.6g}"


def _finite(points: Points) -> list[tuple[float, float]]:
    return [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]


def _words(name: str, points: Points, by: str) -> str:
    first, last = points[0], points[-1]
    lowest, highest = min(points, key=lambda p: p[1]), max(points, key=lambda p: p[1])
    return (
        f"{name}: {first[1]:.3g} at {by} {first[0]:.0f}, {last[1]:.3g} at {by} {last[0]:.0f}, "
        f"lowest {lowest[1]:.3g} at {by} {lowest[0]:.0f}, highest {highest[1]:.3g} at {by} "
        f"{highest[0]:.0f}."
    )


def _level(level: tuple[str, float]) -> str:
    return f"{level[0]}: {level[1]:.3g}."


def _line(curve: Curve, points: Points, x: tuple[float, float], y: tuple[float, float]) -> Line:
    drawn = [(_across(a, x), _down(b, y)) for a, b in points]
    path = " ".join(f"{across:.1f},{down:.1f}" for across, down in drawn)
    bars: list[tuple[float, float, float]] = []
    if len(curve.errors) == len(points):
        ends = zip(points, curve.errors, strict=True)
        bars = [(_across(a, x), _down(b + e, y), _down(b - e, y)) for (a, b), e in ends]
    return Line(curve.name, curve.style, path, tuple(drawn) if curve.dots else (), tuple(bars))


def _in(value: float, span: tuple[float, float]) -> bool:
    slack = 1e-9 * (span[1] - span[0])
    return span[0] - slack <= value <= span[1] + slack


def _across(value: float, span: tuple[float, float]) -> float:
    share = (value - span[0]) / ((span[1] - span[0]) or 1.0)
    return LEFT + min(1.0, max(0.0, share)) * (WIDTH - LEFT - RIGHT)


def _down(value: float, span: tuple[float, float]) -> float:
    share = (value - span[0]) / ((span[1] - span[0]) or 1.0)
    return HEIGHT - BOTTOM - min(1.0, max(0.0, share)) * (HEIGHT - TOP - BOTTOM)
