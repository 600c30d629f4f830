"""Line charts as numbers for an inline SVG: scaled points, ticks, labels (no torch, no script)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 640, 240
LEFT, RIGHT, TOP, BOTTOM = 58, 12, 12, 34  # pixels of the drawing around the plot
MOST_POINTS = 500

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Line:
    """One curve: its name, its style class in the page, points in drawing pixels."""

    name: str
    style: str
    path: str


@dataclass(frozen=True)
class Tick:
    """A grid line with its label."""

    at: float
    label: str


@dataclass(frozen=True)
class Chart:
    """Everything the template draws."""

    title: str
    lines: tuple[Line, ...]
    x: tuple[Tick, ...]
    y: tuple[Tick, ...]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


def chart(
    title: str, curves: Iterable[tuple[str, str, Points]], *, from_zero: bool
) -> Chart | None:
    """Returns a chart of (name, style, points) curves, or None without two points in any.

    The upper end leaves out the highest hundredth of values, so that one spike does not flatten
    the rest; what lies beyond is drawn at the edge.
    """
    kept = [(name, style, thinned(_finite(points))) for name, style, points in curves]
    kept = [row for row in kept if len(row[2]) > 1]
    if not kept:
        return None
    xs = [x for _, _, points in kept for x, _ in points]
    ys = sorted(y for _, _, points in kept for _, y in points)
    low = 0.0 if from_zero else ys[0]
    high = max(ys[min(len(ys) - 1, math.ceil(len(ys) * 0.99))], low)
    y_ticks = ticks(low, high)
    span_y = (min(low, y_ticks[0]), max(high, y_ticks[-1]))
    span_x = (min(xs), max(xs))
    lines = tuple(Line(name, style, _path(points, span_x, span_y)) for name, style, points in kept)
    return Chart(
        title,
        lines,
        tuple(Tick(_across(x, span_x), number(x)) for x in ticks(*span_x) if x <= span_x[1]),
        tuple(Tick(_down(y, span_y), number(y)) for y in y_ticks),
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
    if high <= low:
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


def _path(points: Points, x: tuple[float, float], y: tuple[float, float]) -> str:
    return " ".join(f"{_across(a, x):.1f},{_down(b, y):.1f}" for a, b in points)


def _across(value: float, span: tuple[float, float]) -> float:
    share = (value - span[0]) / ((span[1] - span[0]) or 1.0)
    return LEFT + min(1.0, max(0.0, share)) * (WIDTH - LEFT - RIGHT)


def _down(value: float, span: tuple[float, float]) -> float:
    share = (value - span[0]) / ((span[1] - span[0]) or 1.0)
    return HEIGHT - BOTTOM - min(1.0, max(0.0, share)) * (HEIGHT - TOP - BOTTOM)
