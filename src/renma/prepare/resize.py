"""``renma prepare resize``: pictures of one size, or of one area, made with care."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from renma.config.prepare.resize import ResizeOptions
from renma.core.errors import UserError
from renma.core.events import Report
from renma.data import buckets
from renma.data.pictures import read_straight
from renma.prepare._sources import Source
from renma.prepare._step import Made, run_step

VERSION = 2
_FILTERS = {
    "lanczos": Image.Resampling.LANCZOS,
    "bicubic": Image.Resampling.BICUBIC,
    "area": Image.Resampling.BOX,
    "nearest": Image.Resampling.NEAREST,
}


def run(options: ResizeOptions, report: Report) -> None:
    """Resizes every picture of a folder into a new one.

    Raises:
        UserError: a resolution that has no buckets; and see
            :func:`renma.prepare._step.run_step`.
    """
    if options.buckets:
        buckets.validate_sizes(options.dataset(options.buckets))
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

    Raises:
        UserError: it would have more pixels than allowed, or is too small for what is asked.
    """
    if options.buckets is not None:
        return _bucketed(picture, options, options.buckets)
    width, height = aimed(picture.size, options)
    kept = options.only_shrink and (width > picture.width or height > picture.height)
    found = picture if kept else _scaled(picture, (width, height), options)
    if options.mode == "cover" and options.size and not kept:
        found = middle(found, options.size)
    if options.mode == "pad" and options.size:
        found = padded(found, options.size, options.color)
    step = options.multiple_of
    if min(found.size) < step:
        raise UserError(
            f"is {found.width}x{found.height} pixels then, less than --multiple-of {step}"
        )
    return middle(found, (found.width // step * step, found.height // step * step))


def _bucketed(
    picture: Image.Image, options: ResizeOptions, resolution: tuple[int, int]
) -> Image.Image:
    """Returns a picture as the trainer would fit it into its bucket."""
    dataset = options.dataset(resolution, no_upscale=options.only_shrink)
    fit = buckets.fit(*picture.size, dataset)
    left, top = fit.crop
    found = _scaled(picture, fit.resized, options)
    return found.crop((left, top, left + fit.width, top + fit.height))


def _scaled(picture: Image.Image, size: tuple[int, int], options: ResizeOptions) -> Image.Image:
    if math.prod(size) > options.max_pixels:
        raise UserError(
            f"would have {size[0]}x{size[1]} pixels, more than {options.max_pixels:,}",
            remedy="Aim at less, or raise --max-pixels.",
        )
    return resample(picture, size, options.resample, linear=options.linear)


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
    picture: Image.Image,
    size: tuple[int, int],
    filter_name: str,
    *,
    linear: bool = False,
    box: tuple[float, float, float, float] | None = None,
) -> Image.Image:
    """Returns a picture in another size.

    Colours are weighted by opacity: what lies hidden under transparent parts never bleeds out.

    Args:
        picture: mode RGB or RGBA.
        size: width and height, pixels.
        filter_name: lanczos, bicubic, area or nearest.
        linear: average light (sRGB decoded) instead of stored values.
        box: left, top, right, bottom of the part to take, fractions of pixels too (default: all).
    """
    if box is None and size == picture.size:
        return picture
    how = _FILTERS[filter_name]
    if not linear and (picture.mode == "RGB" or how == Image.Resampling.NEAREST):
        return picture.resize(size, how, box)
    # transparent ones never by Pillow: its opacity of 8 bits is cut where Lanczos overshoots, the
    # colours under it are not, which leaves bright rims
    stored = np.asarray(picture, dtype=np.float32) / 255
    alpha = stored[..., 3:] if picture.mode == "RGBA" else np.ones_like(stored[..., :1])
    light = (decoded(stored[..., :3]) if linear else stored[..., :3]) * alpha
    planes = [light[..., c] for c in range(3)] + [alpha[..., 0]]
    scaled = [Image.fromarray(plane).resize(size, how, box) for plane in planes]
    small = np.stack([np.asarray(plane) for plane in scaled], axis=-1)
    color = np.clip(small[..., :3] / np.maximum(small[..., 3:], 1e-6), 0, 1)
    color = encoded(color) if linear else color
    parts = (color, np.clip(small[..., 3:], 0, 1)) if picture.mode == "RGBA" else (color,)
    return Image.fromarray((np.concatenate(parts, axis=-1) * 255).round().astype(np.uint8))


def decoded(stored: np.ndarray) -> np.ndarray:
    """Returns linear light, 0 to 1, of stored sRGB values 0 to 1 (IEC 61966-2-1)."""
    return np.where(stored <= 0.04045, stored / 12.92, ((stored + 0.055) / 1.055) ** 2.4)


def encoded(light: np.ndarray) -> np.ndarray:
    """Returns stored sRGB values 0 to 1 of linear light 0 to 1 (IEC 61966-2-1)."""
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


def middle(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Returns the middle of a picture; size is at most the picture's."""
    if size == picture.size:
        return picture
    left, top = (picture.width - size[0]) // 2, (picture.height - size[1]) // 2
    return picture.crop((left, top, left + size[0], top + size[1]))


def padded(picture: Image.Image, size: tuple[int, int], color: tuple[int, int, int]) -> Image.Image:
    """Returns a picture in the middle of a ground of one colour."""
    fill = (*color, 255) if picture.mode == "RGBA" else color
    ground = Image.new(picture.mode, size, fill)
    ground.paste(picture, ((size[0] - picture.width) // 2, (size[1] - picture.height) // 2))
    return ground
