"""Boxes brought to a margin, a shape, a least size, without leaving the picture."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

from renma.prepare.borders import Box

Size = tuple[int, int]


def widened(box: Box, margins: tuple[int, int, int, int], size: Size) -> Box:
    """Returns a box with margins left, above, right and below, as far as the picture reaches.

    Args:
        box: left, top, right, bottom.
        margins: pixels.
        size: width and height of the picture.
    """
    left, top, right, bottom = box
    return (
        max(0, left - margins[0]),
        max(0, top - margins[1]),
        min(size[0], right + margins[2]),
        min(size[1], bottom + margins[3]),
    )


def at_least(box: Box, side: int, size: Size) -> Box:
    """Returns a box grown to ``side`` pixels each way around its middle, inside the picture.

    Args:
        box: left, top, right, bottom.
        side: pixels; where the picture has fewer, all of them.
        size: width and height of the picture.
    """
    left, right = _grown(box[0], box[2], max(side, box[2] - box[0]), size[0])
    top, bottom = _grown(box[1], box[3], max(side, box[3] - box[1]), size[1])
    return left, top, right, bottom


def shaped(
    box: Box, ratio: Fraction, size: Size, keep: Box | None = None, *, upright: bool = False
) -> Box:
    """Returns a box of a shape, to within a pixel: grown where the picture has room, else cut.

    Args:
        box: left, top, right, bottom.
        ratio: width to height.
        size: width and height of the picture.
        keep: what must stay inside, as far as it fits, where something is cut.
        upright: the box holds a figure: where its height must be cut, the upper end stays.
    """
    width, height = box[2] - box[0], box[3] - box[1]
    if Fraction(width, height) < ratio:
        wide = min(round(height * ratio), size[0])
        aim = (wide, height if wide < size[0] else min(height, round(wide / ratio)))
    else:
        high = min(round(width / ratio), size[1])
        aim = (width if high < size[1] else min(width, round(high * ratio)), high)
    aim = (max(1, aim[0]), max(1, aim[1]))
    held = keep or box
    left, right = _moved(_grown(box[0], box[2], aim[0], size[0]), (held[0], held[2]), size[0])
    if upright and aim[1] < height:
        held = keep or (0, box[1], 0, box[1] + aim[1])
        top, bottom = _moved((box[1], box[1] + aim[1]), (held[1], held[3]), size[1])
    else:
        top, bottom = _moved(_grown(box[1], box[3], aim[1], size[1]), (held[1], held[3]), size[1])
    return left, top, right, bottom


def around(box: Box, others: Iterable[Box], size: Size) -> Box:
    """Returns a box whose edges go through none of the others: those they cross lie inside.

    Args:
        box: left, top, right, bottom.
        others: such as faces.
        size: width and height of the picture.
    """
    left, top, right, bottom = box
    for other in others:
        if other[0] < right and left < other[2] and other[1] < bottom and top < other[3]:
            left, top = min(left, other[0]), min(top, other[1])
            right, bottom = max(right, other[2]), max(bottom, other[3])
    return max(0, left), max(0, top), min(size[0], right), min(size[1], bottom)


def _grown(start: int, end: int, length: int, limit: int) -> tuple[int, int]:
    """Returns a stretch of a length around the middle of another one, between 0 and a limit."""
    length = min(length, limit)
    at = min(max((start + end - length) // 2, 0), limit - length)
    return at, at + length


def _moved(stretch: tuple[int, int], held: tuple[int, int], limit: int) -> tuple[int, int]:
    """Returns a stretch moved as little as holds another, or around the middle of a longer one."""
    start, end = stretch
    if held[1] - held[0] > end - start:
        return _grown(*held, end - start, limit)
    shift = min(0, held[0] - start) + max(0, held[1] - end)
    return start + shift, end + shift
