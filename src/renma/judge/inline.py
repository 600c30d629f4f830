"""Pictures inside a page: small WebP copies as data URIs, broken files as a plain word."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from renma.core.errors import UserError
from renma.data.pictures import read_rgb

_FINE, _COARSE = 82, 62
"""WebP qualities; the coarse one is tried before a picture is made smaller."""


@dataclass(frozen=True)
class Picture:
    """One inlined picture; ``uri`` is empty when the file cannot be read."""

    uri: str
    width: int
    height: int
    problem: str = ""


def from_file(path: Path, longest: int, most: int) -> Picture:
    """Returns a file as inlined picture, upright, on white.

    Args:
        path: the file.
        longest: pixels a side at most.
        most: bytes at most.
    """
    try:
        return inline(Image.fromarray(read_rgb(path)), longest, most)
    except UserError as error:
        return Picture("", 0, 0, error.what)


def inline(picture: Image.Image, longest: int, most: int) -> Picture:
    """Returns a picture as inlined WebP; noisy ones are coarser or smaller to keep within bounds.

    Args:
        picture: any size.
        longest: pixels a side at most.
        most: bytes at most.
    """
    small = picture.copy()
    small.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    data = _webp(small, _FINE)
    while len(data) > most and max(small.size) > 16:
        data = _webp(small, _COARSE)
        if len(data) > most:
            share = min(0.9, 0.97 * (most / len(data)) ** 0.5)  # bytes go with the area
            side = max(16, round(share * max(small.size)))
            small.thumbnail((side, side), Image.Resampling.LANCZOS)
            data = _webp(small, _COARSE)
    text = base64.b64encode(data).decode()
    return Picture(f"data:image/webp;base64,{text}", small.width, small.height)


def _webp(picture: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format="WEBP", quality=quality, method=4)
    return buffer.getvalue()
