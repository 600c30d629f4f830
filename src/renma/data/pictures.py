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
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, ImageOps, UnidentifiedImageError

from renma.core.errors import UserError
from renma.data.notes import shown

if TYPE_CHECKING:
    import numpy as np

ENDINGS = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif"})
"""Picture file endings, in lower case; files may spell them in any case."""
MAX_PIXELS = 64_000_000
WHITE = (255, 255, 255)
_SWAPPED = frozenset({5, 6, 7, 8})
_ORIENTATION = 0x0112
_WITH_ALPHA = frozenset({"RGBA", "LA", "PA", "La", "RGBa"})
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "AVIF")
# not all that Pillow knows: an EPS file named .png would start Ghostscript
_BROKEN = (OSError, ValueError, SyntaxError, EOFError, RuntimeError, IndexError, struct.error)
# what Pillow's decoders raise on damaged bytes; RuntimeError comes from AVIF


@dataclass(frozen=True)
class Look:
    """What a picture file is, after all its pixels were read once.

    Args:
        width: pixels, after EXIF rotation.
        height: pixels, after EXIF rotation.
        oddities: what is not used of it.
        transparent: whether it can hold transparent pixels.
    """

    width: int
    height: int
    oddities: tuple[str, ...]
    transparent: bool = False


def inspect(path: Path, max_pixels: int = MAX_PIXELS) -> Look:
    """Reads a picture once, so that a broken file is found now and not in the middle of a run.

    Raises:
        UserError: no picture, a broken one, or more pixels than allowed.
    """
    with opened(path, max_pixels) as picture:
        width, height = _upright_size(picture)
        frames = picture.format != "MPO" and getattr(picture, "is_animated", False)
        picture.draft(None, (1, 1))  # a JPEG is checked at an eighth of its size
        picture.load()
        profile = picture.info.get("icc_profile")
        odd = {
            "animated or of several pages, only the first is used": frames,
            "colour profile does not fit the picture and is ignored": profile
            and _profile_space(picture, profile) is None,
        }
        clear = picture.mode in _WITH_ALPHA or "transparency" in picture.info
        return Look(width, height, tuple(text for text, holds in odd.items() if holds), clear)


def measure(path: Path, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Returns width and height after EXIF rotation; pixels are read only where EXIF follows them.

    Raises:
        UserError: no picture, or more pixels than allowed.
    """
    with opened(path, max_pixels) as picture:
        return _upright_size(picture)


def read_rgb(
    path: Path, background: tuple[int, int, int] = WHITE, max_pixels: int = MAX_PIXELS
) -> np.ndarray:
    """Returns the picture as uint8 (height, width, 3) in sRGB, upright, laid on a background.

    An animation gives its first frame; transparent parts show ``background``.

    Raises:
        UserError: broken file, unusual colour mode, or more pixels than allowed.
    """
    import numpy as np

    return np.array(read_layers(path, background, max_pixels)[0])


def read_layers(
    path: Path, background: tuple[int, int, int] = WHITE, max_pixels: int = MAX_PIXELS
) -> tuple[Image.Image, Image.Image | None]:
    """Returns the colours as :func:`read_rgb` does, and the opacity (mode L), both upright.

    Raises:
        UserError: broken file, unusual colour mode, or more pixels than allowed.
    """
    with opened(path, max_pixels) as picture:
        picture.load()
        upright = ImageOps.exif_transpose(picture)
        return flatten(upright, background), _alpha(upright)


def read_straight(path: Path, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Returns the first frame upright and in sRGB: RGBA where it can be transparent, else RGB.

    Raises:
        UserError: broken file, unusual colour mode, or more pixels than allowed.
    """
    with opened(path, max_pixels) as picture:
        picture.load()
        return straight(ImageOps.exif_transpose(picture))


def read_mask(path: Path, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Returns the red channel of a colour picture, or the grey, upright (mode L).

    Colour profiles and transparency say nothing in a mask.

    Raises:
        UserError: broken file, or more pixels than allowed.
    """
    with opened(path, max_pixels) as picture:
        picture.load()
        return _opaque(ImageOps.exif_transpose(picture)).convert("RGB").getchannel("R")


def flatten(picture: Image.Image, background: tuple[int, int, int] = WHITE) -> Image.Image:
    """Returns an sRGB picture; transparency is laid over ``background``, 16-bit grey scaled."""
    alpha = _alpha(picture)
    rgb = _in_srgb(_opaque(picture), picture.info.get("icc_profile"))
    if alpha is None:
        return rgb
    return Image.composite(rgb, Image.new("RGB", rgb.size, background), alpha)


def straight(picture: Image.Image) -> Image.Image:
    """Returns an upright picture, or a frame of an animation, in sRGB: RGBA or RGB."""
    alpha = _alpha(picture)
    rgb = _in_srgb(_opaque(picture), picture.info.get("icc_profile"))
    if alpha is not None:
        rgb.putalpha(alpha)
    rgb.info = {}  # Pillow would write profiles and the like into what is saved of it
    return rgb


def _upright_size(picture: Image.Image) -> tuple[int, int]:
    if picture.format == "TIFF":  # Pillow turns these itself while loading
        picture.load()
        return picture.size
    width, height = picture.size
    turned = picture.getexif().get(_ORIENTATION, 1) in _SWAPPED
    return (height, width) if turned else (width, height)


def _alpha(picture: Image.Image) -> Image.Image | None:
    """Returns how opaque each pixel is, 0 to 255, or None for a picture without transparency."""
    clear = picture.info.get("transparency")
    if picture.mode.startswith("I;16") and isinstance(clear, int):
        import numpy as np

        return Image.fromarray(np.where(np.asarray(picture) == clear, 0, 255).astype(np.uint8))
    if picture.mode == "RGB" and isinstance(clear, tuple) and max(clear) > 255:
        # 16 bits a channel: Pillow keeps the high bytes of the pixels but the whole key
        picture = picture.copy()
        picture.info["transparency"] = tuple(value >> 8 for value in clear)
    if picture.mode in _WITH_ALPHA or (
        clear is not None and picture.mode in {"1", "L", "P", "RGB"}
    ):
        return picture.convert("RGBA").getchannel("A")
    return None


def _opaque(picture: Image.Image) -> Image.Image:
    """Returns the colours alone, whatever alpha says: mode L, RGB or CMYK."""
    mode = picture.mode
    if mode.startswith("I;16") or mode in {"I", "F"}:
        return _scaled_grey(picture)
    if mode in {"L", "RGB", "CMYK"}:
        return picture
    if mode in {"1", "LA", "La"}:
        return picture.convert("LA").getchannel("L")
    straight = picture.convert("RGBA") if mode in _WITH_ALPHA or mode == "P" else picture
    return straight.convert("RGB")


def _scaled_grey(picture: Image.Image) -> Image.Image:
    """Maps deep grey to 8 bits: 0..65535 for 16-bit integers, 0..1 for floats.

    Other ranges say nowhere what white is; a guess would train on black pictures in silence.
    """
    import numpy as np

    values = np.asarray(picture, dtype=np.float64)
    top = 1.0 if picture.mode == "F" else 65535.0
    wide = picture.mode == "I" and picture.format != "PNG"  # 32 bits; old Pillow's PNG is 16
    known = not wide and values.min(initial=0) >= 0 and values.max(initial=0) <= top
    if not known:
        kind = "float" if picture.mode == "F" else "32-bit integer"
        raise UserError(
            f"holds {kind} grey values of unknown range", remedy="Save it as 8-bit PNG."
        )
    return Image.fromarray((values / top * 255).round().astype(np.uint8))


def _profile_space(picture: Image.Image, profile: bytes) -> str | None:
    """Returns GRAY, RGB or CMYK, or None for a profile that is broken or for other colours."""
    from PIL import ImageCms

    try:
        ImageCms.ImageCmsProfile(io.BytesIO(profile))
    except (ImageCms.PyCMSError, OSError):
        return None
    space = profile[16:20].decode("latin-1").strip()  # ICC.1 header: data colour space
    grey = picture.mode in {"1", "L", "LA", "La", "F"} or picture.mode.startswith("I")
    fits = {"GRAY": grey, "RGB": picture.mode != "CMYK", "CMYK": picture.mode == "CMYK"}
    return space if fits.get(space, False) else None


def _in_srgb(picture: Image.Image, profile: bytes | None) -> Image.Image:
    """Returns an RGB picture with the colour profile applied, if there is one that fits."""
    space = _profile_space(picture, profile) if profile else None
    if space is None or profile is None:
        return picture.convert("RGB")
    from PIL import ImageCms

    source = picture.convert("RGB") if space == "RGB" else picture
    try:
        converted = ImageCms.profileToProfile(
            source, io.BytesIO(profile), ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    except ImageCms.PyCMSError as error:
        raise UserError(
            f"has a colour profile that cannot be applied ({error})",
            remedy="Save it again as sRGB.",
        ) from None
    assert converted is not None
    return converted


@contextmanager
def opened(path: Path, max_pixels: int = MAX_PIXELS) -> Iterator[Image.Image]:
    """Opens a picture file without reading its pixels, for those who need the file's own facts.

    Inside the block, whatever Pillow raises on damaged bytes is told as the user's mistake.

    Raises:
        UserError: no picture, a broken one, or more pixels than allowed.
    """
    try:
        with warnings.catch_warnings():
            # Pillow's own limit and its remarks on odd metadata; ours is checked below
            warnings.filterwarnings("ignore", module=r"PIL\.")
            with Image.open(path, formats=_FORMATS) as picture:
                width, height = picture.size
                if width * height > max_pixels:
                    raise UserError(
                        f"has {width}x{height} pixels, more than {max_pixels:,}",
                        remedy="Shrink it, or raise data.max_pixels.",
                    )
                yield picture
    except UserError as error:
        raise UserError(error.what, where=shown(path), remedy=error.remedy) from None
    except Image.DecompressionBombError:
        raise UserError(
            f"has more than {min(max_pixels, 2 * (Image.MAX_IMAGE_PIXELS or max_pixels)):,} pixels",
            where=shown(path),
            remedy="Shrink it.",
        ) from None
    except UnidentifiedImageError:
        raise UserError(
            "is not a picture that can be read", where=shown(path), remedy="Remove or replace it."
        ) from None
    except _BROKEN as error:
        # the system's own messages end in the file's name, which stands in front already
        reason = error.strerror if isinstance(error, OSError) else None
        text = reason or str(error) or type(error).__name__
        raise UserError(
            f"is a broken picture ({text})", where=shown(path), remedy="Remove or replace it."
        ) from None
