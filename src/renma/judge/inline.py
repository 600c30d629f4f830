"""Pictures inside a page: small WebP copies as data URIs, broken files as a plain word."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from renma.core.errors import UserError
from renma.data.pictures import read_rgb


@dataclass(frozen=True)
class Picture:
    """One inlined picture; ``uri`` is empty when the file cannot be read."""

    uri: str
    width: int
    height: int
    problem: str = ""


def from_file(path: Path, longest: int, quality: int = 82) -> Picture:
    """Returns a file as inlined picture, upright, on white, at most ``longest`` pixels a side."""
    try:
        return inline(Image.fromarray(read_rgb(path)), longest, quality)
    except UserError as error:
        return Picture("", 0, 0, error.what)


def inline(picture: Image.Image, longest: int, quality: int = 82) -> Picture:
    """Returns a picture as inlined WebP, at most ``longest`` pixels a side."""
    small = picture.copy()
    small.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, format="WEBP", quality=quality, method=4)
    data = base64.b64encode(buffer.getvalue()).decode()
    return Picture(f"data:image/webp;base64,{data}", small.width, small.height)
