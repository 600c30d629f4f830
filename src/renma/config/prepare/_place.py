"""A place in a picture as people write it: left, top, width, height."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from renma.core.errors import UserError

FORM = "left, top, width, height: pixels, shares up to 1, or with %"
Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels; right and bottom lie behind the last pixel."""
_VALUE = re.compile(r"\s*(\d+(?:\.\d+)?)(%?)\s*")


@dataclass(frozen=True)
class Place:
    """A written place.

    Args:
        values: left, top, width, height; pixels, or shares of the picture.
        shares: which of them are shares.
        where: where it is written, for messages.
    """

    values: tuple[float, float, float, float]
    shares: tuple[bool, bool, bool, bool]
    where: str = ""

    def box(self, size: tuple[int, int], *, clipped: bool = False) -> Box:
        """Returns left, top, right, bottom in pixels.

        Args:
            size: width and height of the upright picture.
            clipped: cut off what reaches beyond it: for a place meant for pictures of any size.

        Raises:
            UserError: it reaches beyond the picture, or holds no pixel of it.
        """
        sides = (*size, *size)
        left, top, width, height = (
            value * side if share else value
            for value, share, side in zip(self.values, self.shares, sides, strict=True)
        )
        found = round(left), round(top), round(left + width), round(top + height)
        start = f"{self.where}: " if self.where else ""
        if not clipped and (found[2] > size[0] or found[3] > size[1]):
            raise UserError(
                f"{start}the box reaches to {found[2]}x{found[3]}, beyond the picture's "
                f"{size[0]}x{size[1]} pixels"
            )
        found = *found[:2], min(found[2], size[0]), min(found[3], size[1])
        if found[0] >= found[2] or found[1] >= found[3]:
            raise UserError(f"{start}the box holds no pixel of the picture's {size[0]}x{size[1]}")
        return found


def read_place(cells: Sequence[Any], where: str = "") -> Place:
    """Returns what four written values mean.

    Four numbers up to 1 are shares of the picture, as are numbers with ``%``; else they are pixels,
    and a share among them is a mistake, as is a width or height of a single pixel.

    Args:
        cells: left, top, width, height.
        where: where they are written.

    Raises:
        UserError: they are not four values of that kind.
    """
    read = [_VALUE.fullmatch(str(cell)) for cell in cells if not isinstance(cell, bool)]
    matches = [match for match in read if match]
    if len(cells) != 4 or len(matches) != 4:
        said = ", ".join(map(str, cells))
        raise UserError(f"'{said}' is no box", where=where or None, remedy=f"Write {FORM}.")
    numbers = [float(match[1]) / (100 if match[2] else 1) for match in matches]
    percent = [bool(match[2]) for match in matches]
    shares = not any(percent) and max(numbers) <= 1
    flags = [shares or each for each in percent]
    left, top, width, height = numbers
    loose = [number for number, share in zip(numbers, flags, strict=True) if not share]
    single = [number for number, share in zip(numbers[2:], flags[2:], strict=True) if not share]
    if any(0 < number < 1 for number in loose) or 1 in single:
        raise UserError(
            f"'{', '.join(str(cell).strip() for cell in cells)}' mixes shares up to 1 with others",
            where=where or None,
            remedy="Write pixels 10, 20, 300, 200, or shares 0.1, 0.2, 0.5, 0.3, or 10%, 20, 50%, "
            "200 for both.",
        )
    if not width or not height:
        raise UserError("the box holds no pixel", where=where or None, remedy=f"Write {FORM}.")
    return Place((left, top, width, height), (flags[0], flags[1], flags[2], flags[3]), where)
