"""Checks that look at one picture alone. The limits were chosen with ``benchmarks/lint.py``."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from renma.config.data import Dataset
from renma.core.errors import UserError
from renma.data.buckets import fit
from renma.data.summary import CROP_WARNING
from renma.prepare.findings import Finding
from renma.prepare.looks import Looks

ENLARGED = 1.25
"""Sides may grow by a quarter before softness shows."""
MUCH_ENLARGED = 1.5
"""From here on `renma check` warns of small pictures, too."""
SHARP = 0.6
DETAIL = -19.0
ONE_WAY = 17.0
QUALITY = 50
BLOCKS = 1.3
BLOCKS_OF_JPEG = 1.8
FRAME = 0.03
CLEAR = 0.002
COLOUR = 14.0
FLAT = 5.0
DARK = 70.0
BRIGHT = 200.0

Said = tuple[str, str, float, float]
"""Code of the check, what was found, the figure, its limit."""


def look_at(name: str, looks: Looks, training: Dataset) -> list[Finding]:
    """Returns what is wrong with one picture.

    Args:
        name: of the picture.
        looks: what was measured.
        training: resolution and buckets it will be trained at.
    """
    found = []
    for check in _CHECKS:
        for code, text, measured, limit in check(looks, training):
            found.append(Finding(code, name, text, measured, limit))
    return found


def _small(looks: Looks, training: Dataset) -> Iterator[Said]:
    try:
        size = fit(looks.width, looks.height, training).resized
    except UserError:  # no bucket at all: said by the shape
        return
    scale = max(size[0] / looks.width, size[1] / looks.height)
    text = f"{looks.width}x{looks.height} is enlarged {scale:.2f} times"
    if scale > MUCH_ENLARGED:
        yield "small", text, scale, MUCH_ENLARGED
    elif scale > ENLARGED:
        yield "rather-small", text, scale, ENLARGED


def _soft(looks: Looks, training: Dataset) -> Iterator[Said]:
    """Blurred, blurred one way, or enlarged: one cause is named, the likeliest."""
    if looks.light.spread < FLAT:
        return
    if looks.sharpness is not None and looks.sharpness < SHARP:
        yield "blurred", f"sharpness {looks.sharpness:.2f}", looks.sharpness, SHARP
        return
    if looks.one_way is not None and looks.one_way > ONE_WAY:
        text = f"detail differs by {looks.one_way:.0f} dB between directions"
        yield "motion-blur", text, looks.one_way, ONE_WAY
    aim = training.resolution[0] * training.resolution[1]
    small = looks.width * looks.height < 4 * aim
    if looks.detail is not None and looks.detail < DETAIL and small:
        text = f"fine detail at {looks.detail:.0f} dB"
        yield "upscaled", text, looks.detail, DETAIL


def _compressed(looks: Looks, _: Dataset) -> Iterator[Said]:
    quality = looks.header.quality
    if quality is not None and quality < QUALITY:
        yield "jpeg", f"JPEG quality {quality}", quality, QUALITY
        return
    # a JPEG's own fine grid shows on smooth ground; what was saved badly before shows more
    limit = BLOCKS if quality is None else BLOCKS_OF_JPEG
    if looks.blocks > limit:
        yield "jpeg", f"8x8 blocks stand out {looks.blocks:.2f} times", looks.blocks, limit


def _framed(looks: Looks, _: Dataset) -> Iterator[Said]:
    if looks.frame.share > FRAME:
        sides = [f"{name} {share:.0%}" for name, share in vars(looks.frame).items() if share]
        text = f"bars at {', '.join(sides)}"
        yield "frame", text, looks.frame.share, FRAME


def _area(looks: Looks, _: Dataset) -> Iterator[Said]:
    tone = looks.light
    if tone.spread < FLAT:
        yield "flat", f"brightness varies by {tone.spread:.1f} of 255", tone.spread, FLAT
    if looks.clear > CLEAR:
        yield "transparent", f"{looks.clear:.0%} of the area", looks.clear, CLEAR
    if tone.colour < COLOUR and tone.spread >= FLAT:
        yield "grey", f"channels differ by {tone.colour:.0f} of 255", tone.colour, COLOUR
    if tone.dark < DARK:
        text = f"nine tenths are darker than {tone.dark:.0f} of 255"
        yield "dark", text, tone.dark, DARK
    if tone.bright > BRIGHT:
        text = f"nine tenths are brighter than {tone.bright:.0f} of 255"
        yield "bright", text, tone.bright, BRIGHT


def _shape(looks: Looks, training: Dataset) -> Iterator[Said]:
    try:
        lost = fit(looks.width, looks.height, training).cropped_away
    except UserError:
        lost = 1.0
    if lost > CROP_WARNING:
        text = f"{looks.width}x{looks.height}: {lost:.0%} would be cut off"
        yield "aspect", text, lost, CROP_WARNING


def _file(looks: Looks, _: Dataset) -> Iterator[Said]:
    header = looks.header
    if header.frames > 1:
        yield "animated", f"{header.frames} frames", header.frames, 1
    if header.odd_mode:
        yield "colour-mode", f"mode {header.odd_mode}", 1, 0
    if header.profile:
        yield "profile", header.profile, 1, 0
    if header.turned:
        yield "turned", "EXIF turns it", 1, 0


_CHECKS: tuple[Callable[[Looks, Dataset], Iterator[Said]], ...] = (
    _small, _soft, _compressed, _framed, _area, _shape, _file,
)  # fmt: skip
