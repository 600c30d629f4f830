"""Where a figure may be cut: from its outline and its face, in heads, as figure drawing counts.

A standing adult is about 7.5 heads tall, drawn characters 5 to 7. Below the chin lie, at a share of
the rest that hardly depends on it, the lower end of the chest, the waist and the middle of the
thighs (Loomis, "Figure Drawing for All It's Worth", 1943: 2, 3 and 5 of 8 heads from the top).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from renma.prepare.borders import Box

BELOW_CHIN = {"bust": 0.185, "waist": 0.34, "thigh": 0.6}
"""Share of the figure below the chin at which each part ends."""
_NECK = 0.25
"""How far below the chin a cut-out of the head goes, in heads."""
_UNSEEN = 6.0
"""Heads from head to foot that are taken for figures whose feet are out of the picture."""
_HEADS = (2.0, 9.0)
_FEET = 0.015
_TRUNK = 0.3
"""Share of the highest column that columns of the trunk have at least; arms have less."""


@dataclass(frozen=True)
class Figure:
    """A figure's measures, in rows of the picture.

    Args:
        top: upper end of the head.
        chin: lower end of the head.
        bottom: lower end of what is seen.
        feet: whether that is the lower end of the figure.
        head: what told the head: face or neck.
    """

    top: int
    chin: int
    bottom: int
    feet: bool
    head: str

    def row(self, part: str) -> int:
        """Returns the row above which a part ends: head, bust, waist or thigh.

        It is never above the chin, and never below what is seen.
        """
        head = max(1, self.chin - self.top)
        if part == "head":
            return min(self.bottom, self.chin + max(1, round(_NECK * head)))
        rest = _UNSEEN * head - head
        if self.feet:
            low, high = ((heads - 1) * head for heads in _HEADS)
            rest = min(max(self.bottom - self.chin, low), high)
        return min(self.bottom, self.chin + max(1, round(BELOW_CHIN[part] * rest)))


def measured(mask: np.ndarray, faces: Sequence[Box]) -> Figure | None:
    """Returns the measures of a figure, or None where neither face nor neck is seen.

    Args:
        mask: bool (height, width), the figure; at least one pixel.
        faces: boxes of faces in it, best first; without any the outline must do.
    """
    rows = np.flatnonzero(mask.any(axis=1))
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    feet = bottom < mask.shape[0] * (1 - _FEET)
    if faces:
        left, upper, right, chin = faces[0]
        height = max(1, chin - upper)
        middle = mask[:chin, max(0, left) : max(1, right)].any(axis=1)
        above = np.flatnonzero(middle)
        crown = int(above[0]) if above.size else upper
        # hair and hats, but neither a raised hand nor what somebody carries on the head
        crown = min(max(crown, upper - height), upper)
        return Figure(max(crown, top), chin, max(bottom, chin), feet, "face")
    neck = _neck(mask, top, bottom)
    return None if neck is None else Figure(top, neck, bottom, feet, "neck")


def trunk(mask: np.ndarray) -> tuple[int, int]:
    """Returns the first and behind the last column of a figure without arms that stretch out.

    Args:
        mask: bool (height, width), the part of the figure that is to be kept; not empty.
    """
    heights = mask.sum(axis=0).astype(np.float64)
    wide = max(1, int(np.count_nonzero(heights)) // 25)
    smooth = np.convolve(heights, np.ones(wide) / wide, mode="same")
    strong = smooth >= _TRUNK * smooth.max()
    peak = int(smooth.argmax())
    before = np.flatnonzero(~strong[:peak])
    behind = np.flatnonzero(~strong[peak:])
    start = int(before[-1]) + 1 if before.size else 0
    end = peak + int(behind[0]) if behind.size else len(heights)
    reach = wide // 2 + 1  # the mean has moved the edge inwards by so much
    return max(0, start - reach), min(len(heights), end + reach)


def _neck(mask: np.ndarray, top: int, bottom: int) -> int | None:
    """Returns the row of the neck where an outline has one: narrower than head and shoulders."""
    height = bottom - top
    widths = mask[top:bottom].sum(axis=1).astype(np.float64)
    low, high = round(0.07 * height), round(0.4 * height)
    if high - low < 3:
        return None
    at = low + int(widths[low:high].argmin())
    head = widths[:at].max(initial=0)
    shoulders = widths[at : at + max(2, round(0.25 * height))].max(initial=0)
    narrow = widths[at] <= 0.75 * head and widths[at] <= 0.6 * shoulders
    return top + at if narrow and widths[at] > 0 else None
