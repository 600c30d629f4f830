"""Lines of small writing in the corners of a picture: signatures, dates, names of sites.

Letters are thin strokes, lighter or darker than what lies around them, of like height and colour,
in a row on one base line. Top-hat and black-hat keep what is thinner than a stroke may be; strokes
that follow each other closely make a line. One picture alone is judged, so a fence may be taken
for writing: look at the contact sheet. (``lint`` compares pictures instead.)
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

HIGH, WIDE = 0.18, 0.5
"""Share of the height and of the width that a corner takes."""
_SIDE = 1024
"""Longer side of the copy that is looked at, pixels."""
_STROKE, _CONTRASTS = 9, (24, 70)
"""Widest stroke, pixels, and how far it stands out, grey values: faint writing on a calm ground,
clear writing on a lively one."""
_LEAST, _MOST = 6, 48
"""Heights of letters on that copy, pixels."""
_LETTERS, _LONG, _WORD = 5, 2.5, 8
_GAP, _SHARED, _RATIO = 1.0, 0.4, 2.4
_BASE, _TONE = 0.15, 14.0
"""How far base lines (in letter heights) and grey values of one line's letters stray."""
Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class _Letter:
    left: int
    top: int
    right: int
    bottom: int
    tone: float

    @property
    def height(self) -> int:
        return self.bottom - self.top


def find(rgb: np.ndarray) -> list[Box]:
    """Returns left, top, right, bottom of each line of writing in the corners, pixels.

    Args:
        rgb: uint8 (height, width, 3).
    """
    import cv2

    height, width = rgb.shape[:2]
    scale = min(1.0, _SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(np.ascontiguousarray(rgb), size, interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    found: set[Box] = set()
    for operation, contrast in product((cv2.MORPH_TOPHAT, cv2.MORPH_BLACKHAT), _CONTRASTS):
        rows = _rows(_letters(grey, operation, contrast))
        found |= {box for box in map(_line, rows) if box and _in_corner(box, size)}
    wider = [_with_rim(box) for box in sorted(found)]
    return [
        (
            max(0, int(left / scale)),
            max(0, int(top / scale)),
            min(width, int(np.ceil(right / scale))),
            min(height, int(np.ceil(bottom / scale))),
        )
        for left, top, right, bottom in wider
    ]


def _letters(grey: np.ndarray, operation: int, contrast: int) -> list[_Letter]:
    """Returns the strokes that are as high as letters and no wider than words, left to right."""
    import cv2

    square = cv2.getStructuringElement(cv2.MORPH_RECT, (_STROKE, _STROKE))
    strokes = (cv2.morphologyEx(grey, operation, square) > contrast).astype(np.uint8)
    _, parts, stats, _ = cv2.connectedComponentsWithStats(strokes)
    found = []
    for index, (x, y, w, h, area) in enumerate(stats[1:].tolist(), 1):
        if _LEAST <= h <= _MOST and w <= _WORD * h and area >= 0.15 * w * h:
            inside = parts[y : y + h, x : x + w] == index
            tone = float(np.median(grey[y : y + h, x : x + w][inside]))
            found.append(_Letter(x, y, x + w, y + h, tone))
    return sorted(found, key=lambda letter: (letter.left, letter.top))


def _rows(letters: list[_Letter]) -> list[list[_Letter]]:
    """Returns letters in rows: each follows the one before it closely and at its height."""
    rows: list[list[_Letter]] = []
    for letter in letters:
        near = [row for row in rows if _follows(row[-1], letter)]
        if near:
            min(near, key=lambda row: letter.left - row[-1].right).append(letter)
        else:
            rows.append([letter])
    return rows


def _follows(one: _Letter, other: _Letter) -> bool:
    high, low = max(one.height, other.height), min(one.height, other.height)
    shared = min(one.bottom, other.bottom) - max(one.top, other.top)
    gap = other.left - one.right
    return (
        high <= _RATIO * low
        and shared >= _SHARED * low
        and -2 <= gap <= _GAP * high
        and abs(one.tone - other.tone) <= 3 * _TONE
    )


def _line(row: list[_Letter]) -> Box | None:
    """Returns the box of a row that is a line of writing."""
    left, right = row[0].left, max(letter.right for letter in row)
    top, bottom = min(letter.top for letter in row), max(letter.bottom for letter in row)
    # small letters run together: a stroke as wide as several counts as several
    count = sum(max(1, round((each.right - each.left) / each.height)) for each in row)
    if len(row) < 3 or count < _LETTERS or right - left < _LONG * (bottom - top):
        return None
    bases = np.array([letter.bottom for letter in row], float)
    tones = np.array([letter.tone for letter in row], float)
    height = float(np.median([letter.height for letter in row]))
    # medians: a q reaches below the base line, a letter may lie on a bright spot
    if _stray(bases) > max(1.0, _BASE * height) or _stray(tones) > _TONE:
        return None
    return left, top, right, bottom


def _with_rim(box: Box) -> Box:
    """Returns a line's box with room for a letter at both ends, which may stand out less."""
    left, top, right, bottom = box
    high = bottom - top
    return left - high, top - high // 4, right + high, bottom + high // 4


def _stray(values: np.ndarray) -> float:
    return float(np.median(np.abs(values - np.median(values))))


def _in_corner(box: Box, size: tuple[int, int]) -> bool:
    left, top, right, bottom = box
    width, height = size
    beside = right <= WIDE * width or left >= (1 - WIDE) * width
    return beside and (bottom <= HIGH * height or top >= (1 - HIGH) * height)
