"""``renma prepare augment``: mirrored, turned, cut and recoloured copies, each one on purpose.

Every draw is a function of seed, picture and number of the copy, so neither order nor workers
matter.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from PIL import Image

from renma.config.prepare.augment import JITTER, AugmentOptions
from renma.core import keyed
from renma.core.counted import counted
from renma.core.errors import UserError
from renma.core.events import Report
from renma.core.text_file import decode
from renma.data.caption_file import CaptionFiles
from renma.data.pictures import read_straight
from renma.data.reading import listing
from renma.prepare import sides
from renma.prepare._facts import facts
from renma.prepare._record import Output
from renma.prepare._sources import Source, find
from renma.prepare._step import CAPTIONS, Made, run_step
from renma.prepare.borders import Box
from renma.prepare.colors import Shift, shifted
from renma.prepare.turn import turned

VERSION = 1
_WORTH = 0.25
"""Copies are changed by at least this share of the most that is allowed: they shall differ."""
_LARGER = 1.5
_TRIES = 32
Size = tuple[int, int]


def run(options: AugmentOptions, report: Report) -> None:
    """Makes copies of every picture of a folder, beside the pictures themselves.

    Raises:
        UserError: see :func:`renma.prepare._step.run_step`.
    """
    work = AugmentWork.of(options)
    out = run_step("augment", options, work, report, _recaptioned(options))
    if options.dry_run:
        return
    if options.flip:
        text = "mirrored copies teach a character that is not symmetric wrongly: look at the sheet"
        report.event("warned", text=text)
    if options.crops or options.random_crop:
        text = "a part may lack what its caption says: look at the sheet"
        report.event("warned", text=text)
    if work.one_sided:
        names = counted(len(work.one_sided), "picture")
        report.line(f"{names} not mirrored: the caption says left or right")
    found = facts(out)
    copies = sum("copy" in each for each in found)
    report.line(f"{counted(copies, 'copy', 'copies')}, {len(found) - copies} as they were")


@dataclass(frozen=True)
class AugmentWork:
    """What is done to each picture.

    Args:
        options: of the verb.
        one_sided: names of the pictures that are not mirrored.
    """

    options: AugmentOptions
    one_sided: frozenset[str] = frozenset()

    @staticmethod
    def of(options: AugmentOptions) -> AugmentWork:
        """Returns the work; captions are read where they decide what is mirrored."""
        if not options.flip or options.flip_captions != "skip":
            return AugmentWork(options)
        return AugmentWork(options, frozenset(_one_sided(find(options.folder))))

    def key(self) -> Sequence[object]:
        """Returns what the result depends on besides the options."""
        return (VERSION, Image.__version__, *sorted(self.one_sided))

    def open(self) -> Callable[[Source], list[Made]]:
        """Returns the function for one picture."""

        def one(source: Source) -> list[Made]:
            picture = read_straight(source.path, self.options.max_pixels)
            flip = self.options.flip and source.name not in self.one_sided
            made = [*copies(picture, self.options, source.digest, flip=flip)]
            if not self.options.copies_only:
                made.insert(0, Made(picture))
            elif not made:
                raise UserError("is too small for parts of --crop-size, or its caption has sides")
            return made

        return one


def copies(
    picture: Image.Image, options: AugmentOptions, digest: str, *, flip: bool
) -> Iterator[Made]:
    """Yields the copies of a picture.

    Args:
        picture: mode RGB or RGBA, upright.
        options: of the verb.
        digest: of the picture's bytes; what is drawn depends on it.
        flip: whether it is mirrored.
    """

    def draw(kind: str, index: int) -> Random:
        return keyed.rng(options.seed, "prepare augment", kind, digest, index)

    if flip:
        mirrored = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        yield Made(mirrored, "-flip", facts={"copy": "mirrored"})
    for index in range(1, options.count + 1):
        if options.rotate:
            angle = round(_strong(draw("rotate", index)) * options.rotate, 2)
            said = {"copy": "turned", "degrees": angle}
            yield Made(turned(picture, angle), f"-turn{index}", facts=said)
        if options.random_crop:
            box = random_part(picture.size, options.random_crop, draw("crop", index))
            yield Made(picture.crop(box), f"-part{index}", box, {"copy": "part"})
        if options.jitters:
            shift = drawn_shift(options, draw("color", index))
            said = {"copy": "colours", **_said(shift)}
            yield Made(shifted(picture, shift), f"-color{index}", facts=said)
    for index, box in enumerate(spread_parts(picture.size, options, draw("crops", 0)), 1):
        yield Made(picture.crop(box), f"-crop{index}", box, {"copy": "part"})


def random_part(size: Size, least: float, random: Random) -> Box:
    """Returns a part of a picture's shape, at a random place, at least so large and smaller.

    Args:
        size: width and height of the picture.
        least: share of its sides.
        random: draws.
    """
    share = random.uniform(least, least + 0.9 * (1 - least))
    width, height = (max(1, math.ceil(side * share)) for side in size)
    left, top = random.randint(0, size[0] - width), random.randint(0, size[1] - height)
    return left, top, left + width, top + height


def spread_parts(size: Size, options: AugmentOptions, random: Random) -> list[Box]:
    """Returns parts of a large picture that overlap little; none of a picture that is not large.

    Args:
        size: width and height of the picture.
        options: how many parts, and their least size.
        random: draws.
    """
    most = min(size[0] / options.crop_size[0], size[1] / options.crop_size[1])
    if most < _LARGER:
        return []
    found: list[Box] = []
    for _ in range(options.crops):
        tries = [_part(size, options.crop_size, most, random) for _ in range(_TRIES)]
        found.append(min(tries, key=lambda box: sum(_shared(box, other) for other in found)))
    return found


def drawn_shift(options: AugmentOptions, random: Random) -> Shift:
    """Returns one change of colour within what the options allow.

    Args:
        options: the most of each.
        random: draws; each kind takes one draw, so that one option does not change the others.
    """
    strong = {name: _strong(random) for name in JITTER}
    return Shift(
        brightness=strong["brightness"] * options.brightness,
        contrast=1 + strong["contrast"] * options.contrast,
        saturation=max(0.0, 1 + strong["saturation"] * options.saturation),
        hue=strong["hue"] * options.hue,
        gamma=1 + strong["gamma"] * options.gamma,
    )


def _strong(random: Random) -> float:
    """Returns a number of -1 to 1 that is not near 0."""
    size = random.uniform(_WORTH, 1)
    return size if random.random() < 0.5 else -size


def _part(size: Size, least: Size, most: float, random: Random) -> Box:
    scale = random.uniform(1, math.sqrt(most))
    width, height = (min(s, round(side * scale)) for s, side in zip(size, least, strict=True))
    left, top = random.randint(0, size[0] - width), random.randint(0, size[1] - height)
    return left, top, left + width, top + height


def _shared(one: Box, other: Box) -> float:
    """Returns the share of the smaller box that lies in both."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (one, other)]
    return max(0, width) * max(0, height) / min(areas)


def _said(shift: Shift) -> dict[str, float]:
    plain = Shift()
    drawn = {name: getattr(shift, name) for name in JITTER}
    return {n: round(value, 4) for n, value in drawn.items() if value != getattr(plain, n)}


def _one_sided(sources: Sequence[Source]) -> Iterator[str]:
    """Yields the names of the pictures whose captions say left or right."""
    for folder in sorted({source.path.parent for source in sources}):
        names = listing(folder)[0]
        for ending in CAPTIONS:
            beside = CaptionFiles(folder, names, ending)
            for source in sources:
                caption = beside.of(source.path) if source.path.parent == folder else None
                if caption and sides.names_side(decode(caption.read_bytes(), caption)[0]):
                    yield source.name


def _recaptioned(options: AugmentOptions) -> Callable[[Output, Path], bytes]:
    """Returns what gives mirrored pictures captions with left and right exchanged."""

    def recaption(output: Output, caption: Path) -> bytes:
        data = caption.read_bytes()
        if options.flip_captions != "swap" or output.facts.get("copy") != "mirrored":
            return data
        text, _ = decode(data, caption)
        return sides.swapped(text).encode() if sides.names_side(text) else data

    return recaption
