"""Aspect-ratio buckets: which size a picture is trained at, and how it gets there.

Sizes and assignment as in kohya-ss/sd-scripts (NovelAI's bucketing): sides are multiples of a
step, the area stays within that of ``resolution``; a picture goes to the bucket whose ratio is
nearest, is resized to cover it and cropped in the middle.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from renma.config.data import Dataset
from renma.core.errors import UserError


@dataclass(frozen=True, slots=True)
class Fit:
    """How one picture becomes training pixels.

    Args:
        width: of the bucket.
        height: of the bucket.
        resized: (width, height) after resizing, at least the bucket's.
        crop: (left, top) of the part that is kept.
    """

    width: int
    height: int
    resized: tuple[int, int]
    crop: tuple[int, int]

    @property
    def cropped_away(self) -> float:
        """Share of the resized area that is cut off, 0 to 1."""
        return 1 - self.width * self.height / (self.resized[0] * self.resized[1])


def validate_sizes(dataset: Dataset) -> None:
    """Checks resolution and bucket limits.

    Raises:
        UserError: sizes that no latent has, or limits that exclude the resolution.
    """
    width, height = dataset.resolution
    for side in (width, height):
        if side < 8 or side % 8:
            nearest = max(8, round(side / 8) * 8)
            raise UserError(
                "sides must be multiples of 8",
                where=f"resolution = {width}x{height}",
                remedy=f"Try {nearest}.",
            )
    if not dataset.enable_bucket or dataset.bucket_no_upscale:
        return
    low, high = dataset.min_bucket_reso, dataset.max_bucket_reso
    if low > min(width, height):
        raise UserError(
            f"is larger than a side of resolution {width}x{height}",
            where=f"min_bucket_reso = {low}",
            remedy=f"Set it to {min(width, height) // 2} or so.",
        )
    if high < max(width, height):
        raise UserError(
            f"is smaller than a side of resolution {width}x{height}",
            where=f"max_bucket_reso = {high}",
            remedy=f"Set it to {2 * max(width, height)} or so.",
        )


def bucket_sizes(dataset: Dataset) -> tuple[tuple[int, int], ...]:
    """Returns all (width, height) buckets of a data set, sorted."""
    return _sizes(
        dataset.resolution,
        dataset.min_bucket_reso,
        dataset.max_bucket_reso,
        dataset.bucket_reso_steps,
    )


@lru_cache(maxsize=64)
def _sizes(
    resolution: tuple[int, int], low: int, high: int, step: int
) -> tuple[tuple[int, int], ...]:
    area = resolution[0] * resolution[1]
    low, high = low // step * step or step, math.ceil(high / step) * step
    side = math.isqrt(area) // step * step
    found = {(side, side)} if side else set()
    for width in range(low, high + 1, step):
        height = min(high, area // width // step * step)
        if height >= low:
            found |= {(width, height), (height, width)}
    return tuple(sorted(found))


def fit(width: int, height: int, dataset: Dataset) -> Fit:
    """Returns how a picture of a size is fitted.

    Raises:
        UserError: smaller than one bucket step with ``bucket_no_upscale``.
    """
    if not dataset.enable_bucket:
        return _cover(width, height, *dataset.resolution)
    if dataset.bucket_no_upscale:
        return _own_bucket(width, height, dataset)
    sizes = bucket_sizes(dataset)
    if not sizes:
        raise UserError(
            f"no bucket fits resolution {dataset.resolution[0]}x{dataset.resolution[1]} with "
            f"bucket_reso_steps = {dataset.bucket_reso_steps}",
            remedy="Use smaller steps.",
        )
    ratio = width / height
    best = (
        (width, height)
        if (width, height) in sizes
        else min(sizes, key=lambda s: abs(s[0] / s[1] - ratio))
    )
    return _cover(width, height, *best)


def _cover(width: int, height: int, target_width: int, target_height: int) -> Fit:
    """Scales so that the target is covered, then cuts the overflow on both sides."""
    if width * target_height > height * target_width:
        resized = (max(target_width, int(width * target_height / height + 0.5)), target_height)
    else:
        resized = (target_width, max(target_height, int(height * target_width / width + 0.5)))
    crop = ((resized[0] - target_width) // 2, (resized[1] - target_height) // 2)
    return Fit(target_width, target_height, resized, crop)


def _own_bucket(width: int, height: int, dataset: Dataset) -> Fit:
    """Never enlarges: shrinks to the area where needed and floors both sides to the step."""
    step, area = dataset.bucket_reso_steps, dataset.resolution[0] * dataset.resolution[1]
    resized = (width, height)
    if width * height > area:
        resized = _shrunk(width / height, area, step)
    bucket = (resized[0] // step * step, resized[1] // step * step)
    if not all(bucket):
        shrunk = f", shrunk to {resized[0]}x{resized[1]}," if resized != (width, height) else ""
        raise UserError(
            f"a picture of {width}x{height} pixels{shrunk} is smaller than "
            f"bucket_reso_steps = {step}",
            remedy="Use smaller steps, another picture, or bucket_no_upscale = false.",
        )
    crop = ((resized[0] - bucket[0]) // 2, (resized[1] - bucket[1]) // 2)
    return Fit(*bucket, resized, crop)


def _shrunk(ratio: float, area: int, step: int) -> tuple[int, int]:
    """Returns the size whose bucket is nearer in ratio: one side a multiple of the step.

    The reference divides by zero where a picture is so long that no bucket of the area holds it;
    here such a size comes back with a side below the step.
    """
    width, height = math.sqrt(area * ratio), math.sqrt(area / ratio)
    from_width = int(width + 0.5) // step * step
    from_height = int(height + 0.5) // step * step
    one = (from_width, int(from_width / ratio + 0.5))
    two = (int(from_height * ratio + 0.5), from_height)
    usable = [size for size in (two, one) if min(size) >= step]
    if not usable:
        return (max(1, int(width)), max(1, int(height)))
    return min(usable, key=lambda s: abs((s[0] // step) / (s[1] // step) - ratio))
