"""WD14 taggers (v1, v2, v3, MOAT ...): ``model.onnx`` with ``selected_tags.csv``.

A picture on white is padded to a square with white, scaled to 448 pixels, its channels ordered
blue, green, red, as float32. As their author exports them the models take (height, width, channel)
from 0 to 255 and answer with probabilities; exported from timm they take (channel, height, width)
from -1 to 1 and answer with logits. Source: ``app.py`` and model cards of SmilingWolf's taggers.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING

from renma.caption.taggers._base import Tag
from renma.core.errors import UserError
from renma.core.text_file import decode

if TYPE_CHECKING:
    import numpy as np

LISTS = ("selected_tags.csv",)
SIDE = 448
CHANNELS = "BGR"
_KINDS = {0: "general", 1: "artist", 3: "copyright", 4: "character", 5: "meta", 9: "rating"}
"""Danbooru's numbers for kinds of tags; 9 is the tagger's own."""
_FORM = "Its first line must name the columns: tag_id,name,category,count."
_WHITE = 255


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
    above, left = (longest - height) // 2, (longest - width) // 2
    square = np.full((longest, longest, 3), _WHITE, np.uint8)
    square[above : above + height, left : left + width] = rgb[:, :, ::-1]
    if longest != side:
        how = cv2.INTER_AREA if longest > side else cv2.INTER_CUBIC
        square = cv2.resize(square, (side, side), interpolation=how)
    return square.astype(np.float32)


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
