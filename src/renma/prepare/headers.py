"""What a picture file says of itself before its pixels are read."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from renma.data.pictures import MAX_PIXELS, opened

_ORIENTATION = 0x0112
_PLAIN = frozenset({"RGB", "RGBA", "L", "P"})
# ITU-T T.81, table K.1: quality 50 of the Independent JPEG Group's library
_LUMA = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55,
    14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62,
    18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip


@dataclass(frozen=True)
class Header:
    """A file's own facts.

    Args:
        format: PNG, JPEG, WEBP, ...
        mode: how colours are stored, as Pillow names it.
        frames: pictures in the file.
        turned: whether EXIF says that the pixels lie on their side or upside down.
        profile: name of a colour profile other than sRGB, or empty.
        quality: of a JPEG, 1 to 100 as the Independent JPEG Group counts, None of others.
    """

    format: str
    mode: str
    frames: int
    turned: bool
    profile: str
    quality: int | None

    @property
    def odd_mode(self) -> str:
        """Colour mode that needs conversion before training, or empty."""
        return "" if self.mode in _PLAIN else self.mode


def read_header(path: Path, max_pixels: int = MAX_PIXELS) -> Header:
    """Returns what a file says of itself.

    Raises:
        UserError: no picture, or more pixels than allowed.
    """
    with opened(path, max_pixels) as picture:
        tables = getattr(picture, "quantization", None) or {}
        return Header(
            format="JPEG" if picture.format == "MPO" else str(picture.format),
            mode=picture.mode,
            frames=frame_count(picture),
            turned=picture.getexif().get(_ORIENTATION, 1) not in (0, 1),
            profile=_other_profile(picture.info.get("icc_profile")),
            quality=jpeg_quality(tables[0]) if 0 in tables else None,
        )


def jpeg_quality(table: list[int]) -> int:
    """Returns the quality, 1 to 100, whose brightness table is nearest to this one.

    Args:
        table: 64 divisors, row by row.
    """
    divisors, base = np.asarray(table), np.asarray(_LUMA)
    open_ended = divisors < 255  # the largest that 8 bits hold
    if not open_ended.any():
        return 1
    scale = float(np.median(divisors[open_ended] / base[open_ended])) * 100
    quality = (200 - scale) / 2 if scale <= 100 else 5000 / scale
    return int(np.clip(round(quality), 1, 100))


def _other_profile(profile: bytes | None) -> str:
    """Returns the name of a profile that is not sRGB."""
    if not profile:
        return ""
    from PIL import ImageCms

    try:
        name = ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(profile)))
    except (ImageCms.PyCMSError, OSError):
        return "a broken profile"
    name = name.strip() or "a profile without a name"
    return "" if "srgb" in name.casefold() or name == "c2" else name


def is_lossless(header: Header) -> bool:
    """Says whether the format keeps every pixel."""
    return header.format in {"PNG", "BMP", "TIFF", "GIF"}


def frame_count(picture: Image.Image) -> int:
    """Returns how many pictures an opened file holds; a stereo pair counts as one."""
    return 1 if picture.format == "MPO" else int(getattr(picture, "n_frames", 1))
