"""What is random about the pixels of one showing: place, turn, mirror, hue, gamma.

Every draw is a function of (seed, epoch, position). A mirror image is a second entry of the latent
cache; everything else makes pixels that no other showing has, so its latents are computed when it
is shown. Ranges of colour and faces as in kohya-ss/sd-scripts; there gamma is taken of values up to
255, which changes brightness violently, here of values in 0 .. 1; turning is our own.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from random import Random

from renma.config.data import Dataset
from renma.core import keyed
from renma.data.buckets import Fit
from renma.data.item import Item

FACE = re.compile(r"_(\d+)_(\d+)_(\d+)_(\d+)$")
"""End of the file names that a face detector writes: centre, width, height in pixels."""
COLOUR_SHARE = 0.33
HUE_DEGREES = 16.0
"""Eight of the 180 units in which OpenCV counts the circle."""
GAMMA = (0.95, 1.05)
_ANGLES = 64
Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Augment:
    """How one showing is cut out of its picture and coloured.

    Args:
        fit: size, place and scale of the part that is shown.
        flip: whether it is mirrored.
        angle: degrees by which the picture is turned counter-clockwise about the part's middle.
        hue: degrees by which colours are shifted around the circle.
        gamma: exponent of the colour values in 0 .. 1.
    """

    fit: Fit
    flip: bool = False
    angle: float = 0.0
    hue: float = 0.0
    gamma: float = 1.0


def face_of(path: Path) -> tuple[int, int, int, int] | None:
    """Returns centre, width and height of the face that a file name tells."""
    found = FACE.search(path.stem)
    if found is None:
        return None
    x, y, width, height = (int(number) for number in found.groups())
    return (x, y, width, height) if width and height else None


def is_cacheable(item: Item, dataset: Dataset, fit: Fit) -> bool:
    """Says whether all showings of a picture have the same pixels, but for mirroring."""
    subset = item.subset
    if subset.color_aug or _face_range(item, dataset):
        return False
    resized = _scale(item, dataset, fit)
    if subset.random_crop and resized != (fit.width, fit.height):
        return False
    return not largest_angle(item, resized, (fit.width, fit.height))


def draw(
    item: Item, dataset: Dataset, fit: Fit, seed: int, epoch: int, position: int, *, flip: bool
) -> Augment:
    """Returns how one showing looks.

    Args:
        item: the picture.
        dataset: its data set.
        fit: how it is fitted without any augmentation.
        seed: the run's seed.
        epoch: 0-based.
        position: running number of the showing in its epoch.
        flip: whether this showing is mirrored.
    """
    if is_cacheable(item, dataset, fit):
        return Augment(fit, flip)
    place = keyed.rng(seed, "augment", "place", epoch, position)
    turn = keyed.rng(seed, "augment", "turn", epoch, position)
    colour = keyed.rng(seed, "augment", "colour", epoch, position)
    size = (fit.width, fit.height)
    face = _face_range(item, dataset)
    resized, middle = _scale(item, dataset, fit), None
    if face is not None:
        resized, middle = _around_face(item, size, face, place)
    widest = largest_angle(item, resized, size)
    angle = turn.uniform(-widest, widest) if widest else 0.0
    cut = _cut(resized, size, angle, middle, place if item.subset.random_crop else None)
    hue, gamma = _colour(colour) if item.subset.color_aug else (0.0, 1.0)
    return Augment(cut, flip, angle, hue, gamma)


def largest_angle(item: Item, resized: Size, size: Size) -> float:
    """Returns how far a picture may turn, up to its ``rotate_degrees``, without being enlarged.

    Args:
        item: the picture.
        resized: its size before it is cut.
        size: of the part that is shown.
    """
    limit, found = item.subset.rotate_degrees, 0.0
    for i in range(1, _ANGLES + 1) if limit else ():
        angle = limit * i / _ANGLES
        zoomed = _zoomed(resized, size, angle)
        if zoomed[0] > item.width or zoomed[1] > item.height:
            break
        found = angle
    return found


def turned(size: Size, angle: float) -> tuple[float, float]:
    """Returns width and height of the upright box around a turned rectangle."""
    sine, cosine = math.sin(math.radians(abs(angle))), math.cos(math.radians(angle))
    width, height = size
    return (width * cosine + height * sine, width * sine + height * cosine)


def _face_range(item: Item, dataset: Dataset) -> tuple[float, float] | None:
    """Returns the range of a picture that is cut around its face, else None."""
    wanted = None if dataset.enable_bucket else item.subset.face_crop_aug_range
    return wanted if wanted and face_of(item.path) else None


def _scale(item: Item, dataset: Dataset, fit: Fit) -> Size:
    """Returns the size of the whole picture before it is cut.

    A random crop without buckets cuts out of the picture as it is, where that is large enough.
    """
    whole = item.width >= fit.width and item.height >= fit.height
    if item.subset.random_crop and not dataset.enable_bucket and whole:
        return (item.width, item.height)
    return fit.resized


def _around_face(
    item: Item, size: Size, share: tuple[float, float], random: Random
) -> tuple[Size, tuple[float, float]]:
    """Returns the size before cutting and the middle of the cut, in that size's pixels."""
    face = face_of(item.path)
    assert face is not None
    x, y, width, height = face
    side, short = max(width, height), min(size)
    cover = max(size[0] / item.width, size[1] / item.height)
    scales = [max(cover, min(1.0, short / (side * part))) for part in share]
    scale = random.uniform(min(scales), max(scales))
    resized = (
        max(size[0], int(item.width * scale + 0.5)),
        max(size[1], int(item.height * scale + 0.5)),
    )
    middle = []
    for length, at in zip(resized, (x * scale, y * scale), strict=True):
        if item.subset.random_crop:  # likely near the face, possibly far from it
            reach = max(length - at, at)
            middle.append(at + random.triangular(-reach, reach, 0))
        else:
            reach = side * scale / 20 if share[0] != share[1] else 0.0
            middle.append(at + random.uniform(-reach, reach))
    return resized, (middle[0], middle[1])


def _zoomed(resized: Size, size: Size, angle: float) -> Size:
    """Returns the smallest enlargement of ``resized`` that holds the turned part."""
    if not angle:
        return resized
    box = turned(size, angle)
    zoom = max(1.0, box[0] / resized[0], box[1] / resized[1])
    return (math.ceil(resized[0] * zoom), math.ceil(resized[1] * zoom))


def _cut(
    resized: Size,
    size: Size,
    angle: float,
    middle: tuple[float, float] | None,
    random: Random | None,
) -> Fit:
    """Returns the part around ``middle``, else at random, else in the middle of the picture."""
    zoomed, box = _zoomed(resized, size, angle), turned(size, angle)
    starts = []
    for axis in (0, 1):
        margin = (box[axis] - size[axis]) / 2
        low = math.ceil(max(0.0, margin))
        high = max(low, math.floor(zoomed[axis] - size[axis] - max(0.0, margin)))
        if middle is not None:
            at = round(middle[axis] * zoomed[axis] / resized[axis] - size[axis] / 2)
            starts.append(min(max(at, low), high))
        elif random is not None:
            starts.append(random.randint(low, high))
        else:
            starts.append((zoomed[axis] - size[axis]) // 2)
    return Fit(*size, zoomed, (starts[0], starts[1]))


def _colour(random: Random) -> tuple[float, float]:
    """Returns hue shift in degrees and gamma: one of them in a third of the showings."""
    if random.random() >= COLOUR_SHARE:
        return 0.0, 1.0
    if random.random() < 0.5:
        return random.uniform(-HUE_DEGREES, HUE_DEGREES), 1.0
    return 0.0, random.uniform(*GAMMA)
