"""Small pictures for pages, made once and kept by content address."""

from __future__ import annotations

import io
import threading
from pathlib import Path
from typing import BinaryIO

from PIL import Image, ImageOps

from renma.core.errors import UserError
from renma.core.store import digest, write_bytes

_MOST_PIXELS = 100_000_000
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
"""Others are read by programs outside, such as EPS by Ghostscript, whatever a file is called."""
_UNREADABLE = (
    OSError,
    ValueError,
    SyntaxError,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)
_AT_ONCE = threading.Semaphore(2)
"""A picture of 100 megapixels takes some hundred MiB while it is shrunk."""
_PAPER = (238, 238, 238)


def thumbnail(path: Path, side: int, folder: Path) -> bytes:
    """Returns a WebP no side of which is longer than ``side`` pixels.

    Args:
        path: of the picture.
        side: in pixels.
        folder: where thumbnails are kept; the key holds the file's size and time.

    Raises:
        UserError: it is no picture, or too large to open.
    """
    found = path.stat()
    key = digest([path, found.st_size, found.st_mtime_ns, side])
    kept = folder / key[:2] / f"{key}.webp"
    if kept.exists():
        return kept.read_bytes()
    with _AT_ONCE:
        data = shrunk(path, side, path.name)
    kept.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(kept, data)
    return data


def shrunk(source: Path | BinaryIO, side: int, name: str) -> bytes:
    """Returns a picture as WebP, no side of it longer than ``side`` pixels.

    Args:
        source: the picture.
        side: in pixels.
        name: what it is called in messages.

    Raises:
        UserError: it is no picture, or too large to open.
    """
    try:
        with Image.open(source, formats=_FORMATS) as picture:
            if picture.width * picture.height > _MOST_PIXELS:
                raise UserError("is too large to be shown", where=name)
            picture.draft("RGB", (side, side))
            small = ImageOps.exif_transpose(picture)
            small.thumbnail((side, side), reducing_gap=2.0)
            small = small.convert("RGBA")
    except _UNREADABLE as error:
        raise UserError(f"is no picture that can be shown ({error})", where=name) from None
    ground = Image.new("RGBA", small.size, _PAPER)
    ground.alpha_composite(small)
    buffer = io.BytesIO()
    ground.convert("RGB").save(buffer, "WEBP", quality=78, method=2)
    return buffer.getvalue()
