"""WD14 taggers (v1, v2, v3, MOAT ...): ``model.onnx`` with ``selected_tags.csv``.

A picture on white is padded to a square with white, scaled to 448 pixels (area where it shrinks,
else cubic), its channels ordered blue, green, red, as float32: the recipe of kohya-ss/sd-scripts'
``tag_images_by_wd14_tagger.py``. SmilingWolf's own ``app.py`` scales with Pillow's bicubic filter,
so its scores differ a little from these. As their author exports them the models take (height,
width, channel) from 0 to 255 and answer with probabilities; exported from timm they take (channel,
height, width) from -1 to 1 and answer with logits (model cards of SmilingWolf's taggers).
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING

from renma.core.errors import UserError
from renma.core.text_file import decode
from renma.engine.taggers._base import Tag

if TYPE_CHECKING:
    import numpy as np

LISTS = ("selected_tags.csv",)
SIDE = 448
CHANNELS = "BGR"
_KINDS = {0: "general", 1: "artist", 3: "copyright", 4: "character", 5: "meta", 9: "rating"}
"""Danbooru's numbers for kinds of tags; 9 is the tagger's own."""
_FORM = "Its first line must name the columns: tag_id,name,category,count."
_WHITE = 255
_LARGEST = 64_000_000
"""Pixels of a square that is made as a whole, 192 MB; longer pictures are scaled in two steps."""
_PIECE = 2_000_000
"""About so many pixels are worked on at a time then."""


def values_of(channels_first: bool) -> str:
    """Returns the range of pixel values: those exported from timm are told by their layout."""
    return "signed" if channels_first else "byte"


def prepare(rgb: np.ndarray, side: int) -> np.ndarray:
    """Returns the square (side, side, 3), float32, BGR, 0 to 255.

    Args:
        rgb: (height, width, 3), uint8, transparency already on white.
        side: pixels.
    """
    import cv2
    import numpy as np

    height, width = rgb.shape[:2]
    longest = max(height, width)
    if longest > side and longest**2 > _LARGEST:
        return _long(rgb[:, :, ::-1], side)
    above, left = (longest - height) // 2, (longest - width) // 2
    square = np.full((longest, longest, 3), _WHITE, np.uint8)
    square[above : above + height, left : left + width] = rgb[:, :, ::-1]
    if longest != side:
        how = cv2.INTER_AREA if longest > side else cv2.INTER_CUBIC
        square = cv2.resize(square, (side, side), interpolation=how)
    return square.astype(np.float32)


def _long(picture: np.ndarray, side: int) -> np.ndarray:
    """Returns what scaling the whole square gives, without the square, which takes gigabytes.

    Averaging over areas is averaging along one axis, then along the other. The long axis comes
    first, without the white beside the picture, in floats; rounding may differ by one.

    Args:
        picture: (height, width, 3), uint8.
        side: pixels.
    """
    import cv2
    import numpy as np

    height, width = picture.shape[:2]
    if width > height:
        return _long(picture.transpose(1, 0, 2), side).transpose(1, 0, 2)
    short = np.empty((side, width, 3), np.float32)
    step = max(1, _PIECE // height)
    for left in range(0, width, step):
        piece = picture[:, left : left + step].astype(np.float32)
        size = (piece.shape[1], side)
        short[:, left : left + step] = cv2.resize(piece, size, interpolation=cv2.INTER_AREA)
    square = np.empty((side, side, 3), np.float32)
    left = (height - width) // 2
    for top in range(0, side, step):
        rows = short[top : top + step]
        padded = np.full((len(rows), height, 3), _WHITE, np.float32)
        padded[:, left : left + width] = rows
        size = (side, len(rows))
        square[top : top + step] = cv2.resize(padded, size, interpolation=cv2.INTER_AREA)
    return np.rint(square)


def read_tags(file: Path) -> tuple[Tag, ...]:
    """Returns the tags of a ``selected_tags.csv``.

    Raises:
        UserError: it is none.
    """
    text, _ = decode(file.read_bytes(), file)
    rows = csv.reader(text.splitlines())
    columns = next(rows, [])
    if not {"name", "category"} <= set(columns):
        raise UserError("is no list of tags", where=file, remedy=_FORM)
    name, category = columns.index("name"), columns.index("category")
    found = []
    for row in filter(None, rows):
        try:
            found.append(Tag(row[name], _KINDS.get(int(row[category]), "general")))
        except (IndexError, ValueError):
            raise UserError(
                "this line is not that of a tag", where=f"{file}:{rows.line_num}", remedy=_FORM
            ) from None
    return tuple(found)
