"""Frames around pictures: letterbox bars, scanned margins, drawn borders.

The rule: a bar is rows of one and the same colour at the edge (noise of photographs and of JPEG is
allowed for) that end at a straight line: right behind it most of the line has other colours, and a
little deeper nearly all of it. A frame is cut only where two opposite bars have the same colour. So
the flat ground of a drawing stays: beside and above the subject it goes on far behind any line; and
a clear sky stays, because nothing of its kind lies opposite.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels; right and bottom lie behind the last pixel."""
TOLERANCE = 16
_MOST_NOISE = 12.0
"""Standard deviation of a colour value that still counts as one colour."""
_FULL = 0.985
"""Share of a row of a bar that has the bar's colour."""
_CROSSED, _ENDED, _DEEP = 0.5, 0.9, 0.05
"""Share of the line behind a bar that has another colour, at once, and within a depth, which is a
share of the side."""
_ENDED_TOO = 0.6
"""The same for a bar whose opposite ends clearly: the picture may be as dark as its bars there."""
_SAME = 3
"""Levels by which two pixels of flat ground differ at most."""
_RINGING, _LOOSE = 9, 0.9
"""Rows next to the edge that JPEG may have disturbed, and the share of them that still is near."""
_BLOCKS = 16
_SMEARED = 2
"""Rows between bar and picture that resizing may have mixed of both."""
_ROUNDS = 4
_SAMPLED = 512
"""At least so many rows say whether a column is a bar of its own."""
_LEAST = 8
"""Pixels that must be left of a side: what is all bar is no frame."""


@dataclass(frozen=True)
class _Bar:
    rows: int
    color: np.ndarray
    ended: float


def find(pixels: np.ndarray, tolerance: int = TOLERANCE, *, one_sided: bool = False) -> Box:
    """Returns the part of a picture inside its frame; all of it where there is no frame.

    Frames inside frames (a white margin around a black line) are found too.

    Args:
        pixels: uint8 (height, width, 3 or 4); transparent pixels are alike, whatever they store.
        tolerance: by how much values of one colour may differ, 0 to 255.
        one_sided: a bar counts without one opposite, too.
    """
    seen = _seen(pixels)
    height, width = seen.shape[:2]
    left, top, right, bottom = 0, 0, width, height
    for _ in range(_ROUNDS):
        inner = seen[top:bottom, left:right]
        above, below = _pair(inner, tolerance, one_sided)
        inner = inner[above : len(inner) - below]
        before, behind = _pair(inner.transpose(1, 0, 2), tolerance, one_sided)
        if not any((above, below, before, behind)):
            break
        left, top, right, bottom = left + before, top + above, right - behind, bottom - below
        if min(right - left, bottom - top) < _LEAST:
            return 0, 0, width, height
    return left, top, right, bottom


def _seen(pixels: np.ndarray) -> np.ndarray:
    """Returns int16 values in which hidden colours are no more."""
    values = pixels.astype(np.int16)
    if values.shape[2] == 4:
        values[..., :3] = values[..., :3] * (values[..., 3:] / 255)
    return values


def _pair(lines: np.ndarray, tolerance: int, one_sided: bool) -> tuple[int, int]:
    """Returns how many rows to cut at the start and at the end."""
    first, last = _bar(lines, tolerance), _bar(lines[::-1], tolerance)
    alone = [bar.rows if one_sided and bar and bar.ended >= _ENDED else 0 for bar in (first, last)]
    if first is None or last is None or np.abs(first.color - last.color).max() > tolerance:
        return alone[0], alone[1]
    ends = sorted((first.ended, last.ended))
    if ends[0] >= _ENDED_TOO and ends[1] >= _ENDED:
        return first.rows, last.rows
    return alone[0], alone[1]


def _bar(lines: np.ndarray, tolerance: int) -> _Bar | None:
    """Returns the bar at the start of rows (rows, pixels, channels), if there is one."""
    if min(lines.shape[:2]) < _LEAST:
        return None
    color = np.median(lines[0], axis=0)
    noise = 1.4826 * float(np.median(np.abs(lines[0] - color), axis=0).max())
    if noise > _MOST_NOISE:
        return None
    reach = tolerance + 3 * noise
    rows = _rows(lines, color, reach, tolerance)
    if rows in (0, len(lines)):  # none, or nothing but bar
        return None
    loose = (np.abs(lines[rows : rows + _RINGING] - color) <= 3 * reach).all(axis=-1)
    for near in np.asarray(loose).mean(axis=1):
        alike = float((np.abs(lines[rows] - color) <= reach).all(axis=-1).mean())
        if near < _LOOSE or alike <= 1 - _CROSSED:
            break
        rows += 1
    rows += _smear(lines, rows, color)
    return _Bar(rows, color, _ended(lines, rows, color, (reach, noise)))


def _rows(lines: np.ndarray, color: np.ndarray, reach: float, tolerance: int) -> int:
    """Returns how many rows at the start have the colour all along."""
    start, step = 0, _LEAST
    while start < len(lines):  # most bars are thin: few rows are looked at
        part = lines[start : start + step]
        full = (np.abs(part - color) <= reach).all(axis=-1).mean(axis=1) >= _FULL
        full &= _even(part, color, tolerance)
        if not full.all():
            return start + int(np.argmin(full))
        start, step = start + len(part), 2 * step
    return len(lines)


def _ended(lines: np.ndarray, rows: int, color: np.ndarray, spread: tuple[float, float]) -> float:
    """Returns the share of a line behind which a bar ends; 0 where that is no straight line.

    Args:
        lines: rows, pixels, channels.
        rows: of the bar.
        color: of the bar.
        spread: how far its values may lie from the colour, and their standard deviation.
    """
    reach, noise = spread
    behind = lines[rows:]
    some = behind[:: max(1, len(behind) // _SAMPLED)]
    # columns that are no bars themselves
    own = (np.abs(some - color).max(axis=-1) > reach).mean(axis=0) > 1 - _FULL
    deep = max(2, round(_DEEP * len(lines)))
    off = np.abs(behind[:deep] - color).max(axis=-1)
    if own.sum() < _LEAST or deep >= len(behind):
        return 0.0
    crossed = (off[:2, own] > reach).mean(axis=1).max()
    # dark parts of a film differ a little from its black bars, flat ground does not from itself
    differs = off[:deep, own] > max(_SAME, 3 * noise)
    return float((differs.mean(axis=0) > 0.05).mean()) if crossed >= _CROSSED else 0.0


def _even(lines: np.ndarray, color: np.ndarray, tolerance: int) -> np.ndarray:
    """Says which rows have the colour in every part of them, with their noise averaged out."""
    length = lines.shape[1]
    edges = np.linspace(0, length, min(_BLOCKS, length) + 1).astype(int)
    sums = np.add.reduceat(lines, edges[:-1], axis=1, dtype=np.float64)
    means = sums / np.diff(edges)[:, None]
    return (np.abs(means - color) <= tolerance).all(axis=(1, 2))


def _smear(lines: np.ndarray, rows: int, color: np.ndarray) -> int:
    """Returns how many rows after a bar are a mixture of it and of what follows."""
    found = 0
    for row in range(rows, min(rows + _SMEARED, len(lines) - 1)):
        here, after = (float(np.abs(lines[i] - color).mean()) for i in (row, row + 1))
        if here > 0.6 * after:
            break
        found += 1
    return found
