"""Reading picture files: rotation, transparency, colour modes, profiles.

Traps this file exists for: ``convert("RGB")`` drops alpha and shows whatever colour lies under it;
it clips 16-bit grey to white; nothing but a transpose honours EXIF orientation.
"""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, ImageOps, UnidentifiedImageError

from renma.core.errors import UserError

if TYPE_CHECKING:
    import numpy as np

ENDINGS = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif"})
"""Picture file endings, in lower case; files may spell them in any case."""
MAX_PIXELS = 64_000_000
WHITE = (255, 255, 255)
_SWAPPED = frozenset({5, 6, 7, 8})
_ORIENTATION = 0x0112


def measure(path: Path, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Returns width and height after EXIF rotation, from the header alone.

    Raises:
        UserError: no picture, or more pixels than allowed.
    """
    with _opened(path, max_pixels) as picture:
        width, height = picture.size
        turned = picture.getexif().get(_ORIENTATION, 1) in _SWAPPED
        return (height, width) if turned else (width, height)


def read_rgb(
    path: Path, background: tuple[int, int, int] = WHITE, max_pixels: int = MAX_PIXELS
) -> np.ndarray:
    """Returns the picture as uint8 (height, width, 3) in sRGB, upright, laid on a background.

    An animation gives its first frame; transparent parts show ``background``.

    Raises:
        UserError: broken file, unusual colour mode, or more pixels than allowed.
    """
    import numpy as np

    with _opened(path, max_pixels) as picture:
        picture.load()
        upright = ImageOps.exif_transpose(picture)
        return np.asarray(flatten(_in_srgb(upright), background))


def flatten(picture: Image.Image, background: tuple[int, int, int] = WHITE) -> Image.Image:
    """Returns an RGB picture; transparency is laid over ``background``, 16-bit grey scaled."""
    if picture.mode.startswith("I;16") or picture.mode in {"I", "F"}:
        return _scaled_grey(picture)
    transparent = (
        picture.mode in {"RGBA", "LA", "PA", "La", "RGBa"} or "transparency" in picture.info
    )
    if not transparent:
        return picture.convert("RGB")
    straight = picture.convert("RGBA")
    ground = Image.new("RGBA", straight.size, (*background, 255))
    return Image.alpha_composite(ground, straight).convert("RGB")


def _scaled_grey(picture: Image.Image) -> Image.Image:
    """Maps deep grey to 8 bits by its own range: 0..65535 for integers, 0..1 for floats."""
    import numpy as np

    values = np.asarray(picture, dtype=np.float64)
    top = 1.0 if picture.mode == "F" and values.max(initial=0) <= 1 else 65535.0
    if values.min(initial=0) < 0 or values.max(initial=0) > top:
        raise UserError(f"holds grey values outside 0..{top:g}", remedy="Save it as 8-bit PNG.")
    return Image.fromarray((values / top * 255).round().astype(np.uint8)).convert("RGB")


def _in_srgb(picture: Image.Image) -> Image.Image:
    """Returns the picture with its embedded colour profile applied, if it has a usable one."""
    profile = picture.info.get("icc_profile")
    if not profile or picture.mode not in {"RGB", "RGBA", "CMYK", "L"}:
        return picture
    from PIL import ImageCms

    target = ImageCms.createProfile("sRGB")
    alpha = picture.getchannel("A") if picture.mode == "RGBA" else None
    source = picture.convert("RGB") if alpha is not None else picture
    try:
        converted = ImageCms.profileToProfile(source, io.BytesIO(profile), target, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError):  # a profile that does not fit the pixels: as if without
        return picture
    assert converted is not None
    if alpha is not None:
        converted.putalpha(alpha)
    return converted


@contextmanager
def _opened(path: Path, max_pixels: int) -> Iterator[Image.Image]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as picture:
                width, height = picture.size
                if width * height > max_pixels:
                    raise UserError(
                        f"has {width}x{height} pixels, more than {max_pixels:,}",
                        where=path,
                        remedy="Shrink it, or raise data.max_pixels.",
                    )
                yield picture
    except UserError as error:
        raise UserError(error.what, where=path, remedy=error.remedy) from None
    except Image.DecompressionBombError:
        raise UserError(f"has more than {max_pixels:,} pixels", where=path) from None
    except UnidentifiedImageError:
        raise UserError(
            "is not a picture that can be read", where=path, remedy="Remove or replace it."
        ) from None
    except (OSError, ValueError, SyntaxError, struct.error, EOFError) as error:
        text = str(error) or type(error).__name__
        raise UserError(
            f"is a broken picture ({text})", where=path, remedy="Remove or replace it."
        ) from None
