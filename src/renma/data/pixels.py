"""From a picture file to the pixels of one showing, and to what of them counts in the loss."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image

from renma.core.errors import UserError
from renma.data.augment import Augment, turned
from renma.data.item import Item
from renma.data.pictures import MAX_PIXELS, read_layers, read_mask

if TYPE_CHECKING:
    import numpy as np

_KINDS = {
    "lanczos": Image.Resampling.LANCZOS,
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "linear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "cubic": Image.Resampling.BICUBIC,
    "area": Image.Resampling.BOX,
    "box": Image.Resampling.BOX,
}


@dataclass(frozen=True)
class Pixels:
    """One showing of a picture.

    Args:
        rgb: uint8 (height, width, 3).
        mask: float32 (height, width), 0 = does not count in the loss, 1 = counts; or None.
    """

    rgb: np.ndarray
    mask: np.ndarray | None


def load_fitted(item: Item, shown: Augment) -> Pixels:
    """Returns the pixels of a showing.

    Only the part that is kept is computed: a strip of 1x20000 pixels would else be enlarged to
    gigabytes before it is cropped.

    Raises:
        UserError: the file is no longer the one that was measured, or its mask does not fit it.
    """
    import numpy as np

    picture, alpha = read_layers(item.path, item.subset.background, MAX_PIXELS * 16)
    if picture.size != (item.width, item.height):
        raise UserError("changed while the run was at work", where=item.path, remedy="Start again.")
    rgb = np.array(_part(picture, shown, _kind(item, shown)))
    if shown.hue:
        rgb = shift_hue(rgb, shown.hue)
    if shown.gamma != 1:
        rgb = ((rgb / 255.0) ** shown.gamma * 255).round().astype(np.uint8)
    mask = _mask(item, alpha)
    part = None
    if mask is not None:
        smaller = shown.fit.resized[0] <= item.width and shown.fit.resized[1] <= item.height
        # neither rings over the edges as the sharper kinds do
        kind = Image.Resampling.BOX if smaller else Image.Resampling.BILINEAR
        part = np.asarray(_part(mask, shown, kind), dtype=np.float32) / 255
    if shown.flip:
        rgb, part = rgb[:, ::-1], None if part is None else part[:, ::-1]
    return Pixels(np.ascontiguousarray(rgb), None if part is None else np.ascontiguousarray(part))


def shift_hue(rgb: np.ndarray, degrees: float) -> np.ndarray:
    """Turns the colours of uint8 (..., 3) around the circle; saturation and value stay."""
    import numpy as np

    values = rgb.astype(np.float32)
    high, low = values.max(-1, keepdims=True), values.min(-1, keepdims=True)
    chroma = np.where(high > low, high - low, 1)
    red, green, blue = np.split(values, 3, axis=-1)
    sector = np.where(
        high == red,
        (green - blue) / chroma,
        np.where(high == green, 2 + (blue - red) / chroma, 4 + (red - green) / chroma),
    )
    # each channel is a trapezoid of the hue, a third of the circle apart
    hue = sector + degrees / 60 + np.array([5, 3, 1], np.float32)
    away = hue % 6
    level = np.clip(np.minimum(away, 4 - away), 0, 1)
    return (high - (high - low) * level).round().astype(np.uint8)


def _kind(item: Item, shown: Augment) -> Image.Resampling:
    """Returns how a picture is resized: by default antialiased bicubic, Lanczos to enlarge."""
    name = item.subset.resize_interpolation
    if name != "auto":
        return _KINDS[name]
    across, down = shown.fit.resized
    smaller = across <= item.width and down <= item.height
    return Image.Resampling.BICUBIC if smaller else Image.Resampling.LANCZOS


def _part(picture: Image.Image, shown: Augment, kind: Image.Resampling) -> Image.Image:
    """Returns the part of a picture (or of its mask) that a showing consists of."""
    fit = shown.fit
    across, down = picture.width / fit.resized[0], picture.height / fit.resized[1]
    left, top = fit.crop
    right, bottom = left + fit.width, top + fit.height
    if not shown.angle:
        part = (left * across, top * down, right * across, bottom * down)
        return picture.resize((fit.width, fit.height), kind, box=part)
    box = turned((fit.width, fit.height), shown.angle)
    margin = [
        (outer - inner) / 2 for outer, inner in zip(box, (fit.width, fit.height), strict=True)
    ]
    x0, y0 = max(0, math.floor(left - margin[0])), max(0, math.floor(top - margin[1]))
    x1 = min(fit.resized[0], math.ceil(right + margin[0]))
    y1 = min(fit.resized[1], math.ceil(bottom + margin[1]))
    around = picture.resize(
        (x1 - x0, y1 - y0), kind, box=(x0 * across, y0 * down, x1 * across, y1 * down)
    )
    return _turn(around, shown, (left - x0, top - y0), kind)


def _turn(
    around: Image.Image, shown: Augment, at: tuple[int, int], kind: Image.Resampling
) -> Image.Image:
    """Turns about the middle of the part that begins ``at``, and returns that part alone."""
    width, height = shown.fit.width, shown.fit.height
    sine, cosine = math.sin(math.radians(shown.angle)), math.cos(math.radians(shown.angle))
    x, y = at[0] + width / 2, at[1] + height / 2
    matrix = (
        cosine, -sine, x - cosine * width / 2 + sine * height / 2,
        sine, cosine, y - sine * width / 2 - cosine * height / 2,
    )  # fmt: skip
    smooth = Image.Resampling.BILINEAR if around.mode == "L" else Image.Resampling.BICUBIC
    chosen = kind if kind == Image.Resampling.NEAREST else smooth
    return around.transform((width, height), Image.Transform.AFFINE, matrix, chosen)


def _mask(item: Item, alpha: Image.Image | None) -> Image.Image | None:
    """Returns what counts in the loss, as large as the picture; a mask file beats transparency.

    Raises:
        UserError: the mask is of another shape.
    """
    if item.mask is None:
        return alpha if item.subset.alpha_mask else None
    mask = read_mask(item.mask, MAX_PIXELS * 16)
    # a smaller mask may be off by the pixel that rounding takes
    if abs(mask.width * item.height - mask.height * item.width) > max(item.width, item.height):
        shape = f"{mask.width}x{mask.height}"
        raise UserError(
            f"is {shape} and does not fit its picture of {item.width}x{item.height}",
            where=item.mask,
            remedy="Draw the mask over the picture itself.",
        )
    size = (item.width, item.height)
    return mask if mask.size == size else mask.resize(size, Image.Resampling.BILINEAR)
