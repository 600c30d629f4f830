"""``renma prepare resize``: pictures of one size, or of one area, made with care."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from renma.config.prepare.resize import ResizeOptions
from renma.core.events import Report
from renma.data.pictures import read_straight
from renma.prepare._sources import Source
from renma.prepare._step import Made, run_step

VERSION = 1
_FILTERS = {
    "lanczos": Image.Resampling.LANCZOS,
    "bicubic": Image.Resampling.BICUBIC,
    "area": Image.Resampling.BOX,
    "nearest": Image.Resampling.NEAREST,
}


def run(options: ResizeOptions, report: Report) -> None:
    """Resizes every picture of a folder into a new one.

    Raises:
        UserError: see :func:`renma.prepare._step.run_step`.
    """
    run_step("resize", options, _Resize(options), report)


@dataclass(frozen=True)
class _Resize:
    options: ResizeOptions

    def key(self) -> Sequence[object]:
        return (VERSION, Image.__version__)

    def open(self) -> Callable[[Source], list[Made]]:
        def one(source: Source) -> list[Made]:
            picture = read_straight(source.path, self.options.max_pixels)
            return [Made(resized(picture, self.options))]

        return one


def resized(picture: Image.Image, options: ResizeOptions) -> Image.Image:
    """Returns a picture in the size that the options ask for.

    Args:
        picture: mode RGB or RGBA.
        options: aim, mode, resampling.
    """
    width, height = aimed(picture.size, options)
    if options.only_shrink and (width > picture.width or height > picture.height):
        width, height = picture.size
    found = resample(picture, (width, height), options.resample, linear=options.linear)
    if options.size is not None and options.mode == "cover":
        found = middle(found, (min(width, options.size[0]), min(height, options.size[1])))
    if options.size is not None and options.mode == "pad":
        found = padded(found, options.size, options.color)
    if options.multiple_of > 1:
        found = middle(
            found, tuple(max(1, s // options.multiple_of) * options.multiple_of for s in found.size)
        )
    return found


def aimed(size: tuple[int, int], options: ResizeOptions) -> tuple[int, int]:
    """Returns the width and height to scale to, before anything is cut or padded."""
    width, height = size
    if options.size is not None:
        ratios = (options.size[0] / width, options.size[1] / height)
        if options.mode == "stretch":
            return options.size
        scale = max(ratios) if options.mode == "cover" else min(ratios)
    elif options.pixels is not None:
        scale = math.sqrt(math.prod(options.pixels) / (width * height))
    elif options.longest is not None:
        scale = options.longest / max(size)
    else:
        assert options.shortest is not None
        scale = options.shortest / min(size)
    return max(1, round(width * scale)), max(1, round(height * scale))


def resample(
    picture: Image.Image, size: tuple[int, int], filter_name: str, *, linear: bool = False
) -> Image.Image:
    """Returns a picture in another size.

    Colours are weighted by opacity: what lies hidden under transparent parts never bleeds out.

    Args:
        picture: mode RGB or RGBA.
        size: width and height, pixels.
        filter_name: lanczos, bicubic, area or nearest.
        linear: average light (sRGB decoded) instead of stored values.
    """
    if size == picture.size:
        return picture
    how = _FILTERS[filter_name]
    if not linear:
        return picture.resize(size, how)  # Pillow weights by alpha itself
    stored = np.asarray(picture, dtype=np.float32) / 255
    alpha = stored[..., 3:] if picture.mode == "RGBA" else np.ones_like(stored[..., :1])
    light = decoded(stored[..., :3]) * alpha
    planes = [light[..., c] for c in range(3)] + [alpha[..., 0]]
    small = np.stack([np.asarray(Image.fromarray(p).resize(size, how)) for p in planes], axis=-1)
    cover = np.clip(small[..., 3:], 0, 1)
    color = encoded(np.clip(small[..., :3] / np.maximum(cover, 1e-6), 0, 1))
    parts = (color, cover) if picture.mode == "RGBA" else (color,)
    return Image.fromarray((np.concatenate(parts, axis=-1) * 255).round().astype(np.uint8))


def decoded(stored: np.ndarray) -> np.ndarray:
    """Returns linear light, 0 to 1, of stored sRGB values 0 to 1 (IEC 61966-2-1)."""
    return np.where(stored <= 0.04045, stored / 12.92, ((stored + 0.055) / 1.055) ** 2.4)


def encoded(light: np.ndarray) -> np.ndarray:
    """Returns stored sRGB values 0 to 1 of linear light 0 to 1 (IEC 61966-2-1)."""
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


def middle(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Returns the middle of a picture; size is at most the picture's."""
    left, top = (picture.width - size[0]) // 2, (picture.height - size[1]) // 2
    return picture.crop((left, top, left + size[0], top + size[1]))


def padded(picture: Image.Image, size: tuple[int, int], color: tuple[int, int, int]) -> Image.Image:
    """Returns a picture in the middle of a ground of one colour."""
    fill = (*color, 255) if picture.mode == "RGBA" else color
    ground = Image.new(picture.mode, size, fill)
    ground.paste(picture, ((size[0] - picture.width) // 2, (size[1] - picture.height) // 2))
    return ground
