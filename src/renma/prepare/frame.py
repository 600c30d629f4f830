"""Where to cut: a frame around a face or a point, brought inside the picture by a rule."""

from __future__ import annotations

from typing import Literal

Frame = tuple[int, int, int, int]
"""Left, top, right, bottom in whole pixels; right and bottom lie behind the last pixel."""
Border = Literal["shift", "shrink", "pad"]


def around_face(
    face: tuple[float, float, float, float], margin: float, hair: float, ratio: float | None
) -> tuple[float, float, float, float]:
    """Returns middle x, middle y, width and height of what to cut out around a face.

    The longer side of the face is laid along the shorter side of the frame, so that a frame of any
    ratio holds the face ``margin`` times.

    Args:
        face: left, top, right, bottom.
        margin: size of the frame over that of the face.
        hair: how far up it moves, in heights of the face.
        ratio: width to height; None for the face's own.
    """
    left, top, right, bottom = face
    width, height = right - left, bottom - top
    x, y = (left + right) / 2, (top + bottom) / 2 - hair * height
    if ratio is None:
        return x, y, width * margin, height * margin
    shorter = margin * max(width, height)
    return x, y, shorter * max(1.0, ratio), shorter * max(1.0, 1 / ratio)


def placed(
    wanted: tuple[float, float, float, float], size: tuple[int, int], border: Border
) -> Frame:
    """Returns the frame in whole pixels; with ``pad`` alone it may reach over the border.

    Args:
        wanted: middle x, middle y, width, height; the ratio stays to within a pixel.
        size: width and height of the picture.
        border: what happens at the picture's border.
    """
    x, y, width, height = wanted
    shrink = 1.0
    if border == "shift":
        shrink = min(1.0, size[0] / width, size[1] / height)
    elif border == "shrink":
        x, y = min(max(x, 0.5), size[0] - 0.5), min(max(y, 0.5), size[1] - 0.5)
        room_x, room_y = 2 * min(x, size[0] - x), 2 * min(y, size[1] - y)
        shrink = min(1.0, room_x / width, room_y / height)
    whole_width, whole_height = max(1, round(width * shrink)), max(1, round(height * shrink))
    left, top = round(x - whole_width / 2), round(y - whole_height / 2)
    if border != "pad":
        whole_width, whole_height = min(whole_width, size[0]), min(whole_height, size[1])
        left = min(max(left, 0), size[0] - whole_width)
        top = min(max(top, 0), size[1] - whole_height)
    return left, top, left + whole_width, top + whole_height


def covering(
    point: tuple[float, float], size: tuple[int, int], aim: tuple[int, int]
) -> tuple[float, float, float, float]:
    """Returns left, top, right, bottom of the largest frame of a shape, as near a point as it fits.

    Args:
        point: x, y of what is to be in the middle.
        size: width and height of the picture.
        aim: width and height whose ratio the frame has, exactly: edges are fractions of pixels.
    """
    scale = min(size[0] / aim[0], size[1] / aim[1])
    width, height = min(aim[0] * scale, size[0]), min(aim[1] * scale, size[1])
    left = min(max(point[0] - width / 2, 0.0), size[0] - width)
    top = min(max(point[1] - height / 2, 0.0), size[1] - height)
    return left, top, left + width, top + height
