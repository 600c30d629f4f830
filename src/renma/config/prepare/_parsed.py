"""Values that people write as one word: a size, a colour."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

_SIZE = re.compile(r"(\d{1,5})(?:\s*[x*,]\s*(\d{1,5}))?")
_HEX = re.compile(r"#([0-9a-fA-F]{2})([0-9a-fA-F]{2})([0-9a-fA-F]{2})")
NAMES = {
    "white": (255, 255, 255),
    "black": (0, 0, 0),
    "grey": (128, 128, 128),
    "gray": (128, 128, 128),
    "red": (255, 0, 0),
    "green": (0, 255, 0),
    "blue": (0, 0, 255),
}


def _size(value: Any) -> Any:
    if isinstance(value, str) and (found := _SIZE.fullmatch(value.strip())):
        width, height = int(found[1]), int(found[2] or found[1])
        if width and height:
            return width, height
    if isinstance(value, tuple | list) and len(value) == 2 and all(int(v) > 0 for v in value):
        return tuple(value)
    raise ValueError("is no size; write 512x768, or 512 for a square")


def _color(value: Any) -> Any:
    if isinstance(value, str):
        if value.lower() in NAMES:
            return NAMES[value.lower()]
        if found := _HEX.fullmatch(value):
            return tuple(int(part, 16) for part in found.groups())
    if isinstance(value, tuple | list) and len(value) == 3:
        return tuple(value)
    raise ValueError(f"is no colour; write #rrggbb or one of {', '.join(NAMES)}")


Size = Annotated[
    tuple[int, int],
    BeforeValidator(_size),
    WithJsonSchema({"type": "string", "example": "512x512"}),
]
"""Width and height in pixels, written ``512x768`` or ``512``."""
Color = Annotated[
    tuple[int, int, int],
    BeforeValidator(_color),
    WithJsonSchema({"type": "string", "example": "#ffffff"}),
]
"""Red, green and blue, 0 to 255, written ``#rrggbb`` or as a name."""
