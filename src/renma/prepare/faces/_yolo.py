"""Networks of the YOLO kind: the picture on a square, boxes out of one table of numbers.

Three layouts are known: version 8 and 11 (1, 4 + classes, boxes), version 5 (1, boxes, 5 +
classes, the fifth says whether there is anything at all) and version 10 (1, boxes, 6: corners,
score, class; overlaps are gone already).
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

import numpy as np

from renma.core.errors import UserError
from renma.prepare.faces._base import Box, Face, distinct, shrunk, within

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

_SQUARE = 8192
"""Pixels a side of the largest square that a picture is laid on as it is."""
_FEW = 1000
"""Version 10 gives 300 boxes; version 5 gives thousands."""


def look(
    network: InferenceSession,
    rgb: np.ndarray,
    classes: list[int],
    *,
    side: int,
    least: float,
    pad: tuple[int, int, int] = (114, 114, 114),
    grow: float = 1.0,
) -> list[Face]:
    """Returns the boxes of some classes in one look at a picture, without overlaps.

    Args:
        network: takes float32 RGB (1, 3, side, side), 0 to 1.
        rgb: uint8 (height, width, 3).
        classes: which of its classes are faces.
        side: pixels of its input.
        least: score from which on a box counts.
        pad: colour around the picture.
        grow: how much larger the square is than the picture; above 1 a face that fills the
            picture becomes one that the network has seen the like of.
    """
    values, scale, (left, top) = on_square(rgb, side, pad, grow)
    out: Any = network.run(None, {network.get_inputs()[0].name: values})[0]
    boxes, scores = rows(np.asarray(out), classes)
    height, width = rgb.shape[:2]
    faces = []
    for index in np.flatnonzero(scores >= least):
        edges = boxes[index] / scale - (left, top, left, top)
        box = within((edges[0], edges[1], edges[2], edges[3]), (width, height))
        if box[2] - box[0] >= 1 and box[3] - box[1] >= 1:
            faces.append(Face(_plain(box), float(scores[index])))
    return distinct(faces)


def on_square(
    rgb: np.ndarray, side: int, pad: tuple[int, int, int], grow: float = 1.0
) -> tuple[np.ndarray, float, tuple[float, float]]:
    """Returns the network's input, pixels of it for one of the picture, and the picture's place.

    Args:
        rgb: uint8 (height, width, 3).
        side: of the input.
        pad: colour around the picture, which lies in the middle.
        grow: size of the square over the picture's longer side.

    Returns:
        float32 (1, 3, side, side); the scale; left and top of the picture in its own pixels.
    """
    import cv2

    if max(rgb.shape[:2]) * grow > _SQUARE:  # a strip's square would hold many times its pixels
        small, less = shrunk(rgb, int(_SQUARE / grow))
        values, scale, (left, top) = on_square(small, side, pad, grow)
        return values, scale / less, (left * less, top * less)
    height, width = rgb.shape[:2]
    square = round(max(height, width) * grow)
    left, top = (square - width) // 2, (square - height) // 2
    scale = side / square
    canvas = np.full((square, square, 3), pad, np.uint8)
    canvas[top : top + height, left : left + width] = rgb
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    small = cv2.resize(canvas, (side, side), interpolation=way)
    values = (small.astype(np.float32) / 255).transpose(2, 0, 1)[None]
    return np.ascontiguousarray(values), scale, (left, top)


def rows(out: np.ndarray, classes: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Returns boxes (n, 4) as left, top, right, bottom in input pixels, and their scores (n,).

    Args:
        out: what the network gives, in one of the three layouts.
        classes: those wanted; the score is the highest among them.

    Raises:
        UserError: an unknown layout.
    """
    if out.ndim != 3 or out.shape[0] != 1:
        raise UserError(f"the network gives a table of shape {list(out.shape)}, no YOLO's")
    table = out[0]
    if table.shape[1] == 6 and table.shape[0] <= _FEW:
        wanted = np.isin(table[:, 5].round().astype(int), classes)
        return table[:, :4], np.where(wanted, table[:, 4], 0.0)
    if table.shape[0] < table.shape[1]:
        table = table.T
        scores = table[:, 4:]
    else:
        scores = table[:, 5:] * table[:, 4:5]
    if max(classes) >= scores.shape[1]:
        raise UserError(f"the network knows {scores.shape[1]} classes, wanted is {max(classes)}")
    middle, half = table[:, :2], table[:, 2:4] / 2
    return np.concatenate([middle - half, middle + half], axis=1), scores[:, classes].max(1)


def names(network: InferenceSession) -> dict[int, str]:
    """Returns what the network's file calls its classes, or nothing where it does not say."""
    said = network.get_modelmeta().custom_metadata_map.get("names", "")
    try:
        found = ast.literal_eval(said)
    except (ValueError, SyntaxError):
        return {}
    pairs = enumerate(found) if isinstance(found, list | tuple) else found.items()
    return {int(number): str(name) for number, name in pairs}


def _plain(box: Box) -> Box:
    left, top, right, bottom = (float(edge) for edge in box)
    return left, top, right, bottom
