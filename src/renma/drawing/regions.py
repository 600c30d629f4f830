"""A picture of coloured areas as soft masks, one a colour, and one for the rest (no torch)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageFilter, UnidentifiedImageError

from renma.config.picture_recipe import UsedRegion
from renma.core.errors import UserError

NEAR = 60
"""Largest difference of a channel, of 255, at which a pixel still has a region's colour: smoothed
edges and JPEG change colours a little."""
_SHOWN = 6
_NOTHING = 1e-4
LATENT = 8
"""Pixels along the side of one latent, in every Stable Diffusion."""
_LEAST = 0.1
"""Share of some latent that a region must have, after feathering, to be seen at all."""
_OPAQUE = 128
"""Least alpha of a pixel whose colour counts."""
Mask = NDArray[np.float32]
Colour = tuple[int, int, int]


def parse(text: str) -> UsedRegion:
    """Returns the region of ``COLOUR=PROMPT`` or ``COLOUR:STRENGTH=PROMPT``.

    Raises:
        UserError: it has another form, names no colour, or a strength outside 0 to 1.
    """
    head, sign, prompt = text.partition("=")
    colour, _, strength = head.partition(":")
    if not sign or not prompt.strip():
        raise UserError(
            "is not of the form COLOUR=PROMPT",
            where=f"--region '{text}'",
            remedy='Such as "red=aa12".',
        )
    colour_of(colour.strip())
    try:
        value = float(strength) if strength.strip() else 1.0
    except ValueError:
        value = -1.0
    if not 0 < value <= 1:
        raise UserError(
            f"'{strength}' is no strength", where=f"--region '{text}'", remedy="Above 0, at most 1."
        )
    return UsedRegion(colour=colour.strip(), prompt=prompt.strip(), strength=value)


def colour_of(name: str) -> Colour:
    """Returns red, green and blue of a colour's name or ``#rrggbb``.

    Raises:
        UserError: it is none.
    """
    try:
        red, green, blue = ImageColor.getrgb(name)[:3]
    except ValueError:
        raise UserError(
            f"'{name}' is no colour", where="--region", remedy="A name such as red, or #ff0000."
        ) from None
    return red, green, blue


def read(
    path: Path, found: Sequence[UsedRegion], feather: float, size: tuple[int, int]
) -> list[Mask]:
    """Returns (height, width) masks of 0 to 1: one a region in order, the rest last.

    Together they are 1 everywhere; a region of strength 0.8 leaves 0.2 of its area to the rest.

    Args:
        path: the picture of regions.
        found: the regions.
        feather: pixels of ``size`` over which they melt into one another.
        size: width and height of the picture that is drawn.

    Raises:
        UserError: no picture, a colour named twice, one that is nowhere in it, or too little of it.
    """
    pixels, seen = _pixels(path)
    colours = [colour_of(region.colour) for region in found]
    if len(set(colours)) < len(colours):
        raise UserError(
            "names a colour twice", where="--region", remedy="Join their prompts with AND."
        )
    apart = np.stack([np.abs(pixels - np.array(colour)).max(2) for colour in colours])
    nearest = np.where(seen & (apart.min(0) <= NEAR), apart.argmin(0), len(colours))
    for number, region in enumerate(found):
        if not (nearest == number).any():
            raise UserError(
                f"has no pixel of '{region.colour}'",
                where=path,
                remedy=f"It has {_commonest(pixels[seen])}.",
            )
    soft = [_soft(nearest == number, feather, size) for number in range(len(colours) + 1)]
    for region, mask in zip(found, soft, strict=False):
        if _latents(mask).max() < _LEAST:
            raise UserError(
                f"shows too little of '{region.colour}' to draw at {size[0]}x{size[1]} pixels",
                where=path,
                remedy=f"Paint it wider than {LATENT} of these pixels, or make --feather smaller.",
            )
    total = np.sum(soft, 0)
    pairs = zip(soft[:-1], found, strict=True)
    masks = [(mask / total * region.strength).astype(np.float32) for mask, region in pairs]
    rest = np.clip(1 - np.sum(masks, 0), 0, 1).astype(np.float32)
    rest[rest < _NOTHING] = 0
    return [*masks, rest]


def _pixels(path: Path) -> tuple[NDArray[np.int16], NDArray[np.bool_]]:
    """Returns (height, width, 3) colours, and (height, width) where they are seen."""
    try:
        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert("RGBA")).astype(np.int16)
        # whatever colour lies under transparency was never meant
        return pixels[..., :3], pixels[..., 3] >= _OPAQUE
    except (UnidentifiedImageError, Image.DecompressionBombError):
        raise UserError("is no picture that Pillow reads", where=path) from None
    except OSError as error:
        reason = error.strerror or "is broken"
        raise UserError(
            f"cannot be read: {reason}", where=path, remedy="It shows the regions."
        ) from None


def _soft(mask: NDArray[np.bool_], feather: float, size: tuple[int, int]) -> Mask:
    picture = Image.fromarray(mask.astype(np.uint8) * 255).resize(size, Image.Resampling.BOX)
    if feather:
        # a Gaussian falls from 84 % to 16 % within two deviations
        picture = picture.filter(ImageFilter.GaussianBlur(feather / 2))
    return np.asarray(picture, np.float32) / np.float32(255)


def _latents(mask: Mask) -> Mask:
    """Returns the means of a mask over squares that one latent stands for."""
    height, width = (side - side % LATENT for side in mask.shape)
    squares = mask[:height, :width].reshape(height // LATENT, LATENT, width // LATENT, LATENT)
    return squares.mean((1, 3))


def _commonest(pixels: NDArray[np.int16]) -> str:
    counts = Counter(map(tuple, pixels.reshape(-1, 3)[:: max(1, pixels.size // 300_000)].tolist()))
    return ", ".join(
        "#" + "".join(f"{c:02x}" for c in colour) for colour, _ in counts.most_common(_SHOWN)
    )
