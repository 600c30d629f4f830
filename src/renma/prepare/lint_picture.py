"""Checks that look at one picture alone. The limits were chosen with ``benchmarks/lint.py``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache

from renma.config.data import Dataset
from renma.core.errors import UserError
from renma.data.buckets import fit
from renma.data.summary import CROP_WARNING
from renma.prepare.findings import Finding
from renma.prepare.looks import Looks

ENLARGED = 1.0
SHARP = 0.6
DETAIL = -19.0
ONE_WAY = 17.0
QUALITY = 50
BLOCKS = 1.35
BLOCKS_OF_JPEG = 1.8
FRAME = 0.03
CLEAR = 0.002
COLOUR = 14.0
FLAT = 5.0
DARK = 70.0
BRIGHT = 200.0

Said = tuple[str, str, float, float]
"""Code of the check, what was found, the figure, its limit."""


def look_at(name: str, looks: Looks, resolution: int) -> list[Finding]:
    """Returns what is wrong with one picture.

    Args:
        name: of the picture.
        looks: what was measured.
        resolution: side of the square whose area it will be trained at.
    """
    found = []
    for check in _CHECKS:
        for code, text, measured, limit in check(looks, resolution):
            found.append(Finding(code, name, text, measured, limit))
    return found


def _small(looks: Looks, resolution: int) -> Iterator[Said]:
    scale = resolution / (looks.width * looks.height) ** 0.5
    if scale > ENLARGED:
        size = f"{looks.width}x{looks.height}"
        yield "small", f"{size} is enlarged {scale:.2f} times", scale, ENLARGED


def _soft(looks: Looks, resolution: int) -> Iterator[Said]:
    """Blurred, blurred one way, or enlarged: one cause is named, the likeliest."""
    if looks.light.spread < FLAT:
        return
    if looks.sharpness is not None and looks.sharpness < SHARP:
        yield "blurred", f"sharpness {looks.sharpness:.2f}", looks.sharpness, SHARP
        return
    if looks.one_way is not None and looks.one_way > ONE_WAY:
        text = f"detail differs by {looks.one_way:.0f} dB between directions"
        yield "motion-blur", text, looks.one_way, ONE_WAY
    pixels = (looks.width * looks.height) ** 0.5
    if looks.detail is not None and looks.detail < DETAIL and pixels < 2 * resolution:
        text = f"fine detail at {looks.detail:.0f} dB"
        yield "upscaled", text, looks.detail, DETAIL


def _compressed(looks: Looks, _: int) -> Iterator[Said]:
    quality = looks.header.quality
    if quality is not None and quality < QUALITY:
        yield "jpeg", f"JPEG quality {quality}", quality, QUALITY
        return
    # a JPEG's own fine grid shows on smooth ground; what was saved badly before shows more
    limit = BLOCKS if quality is None else BLOCKS_OF_JPEG
    if looks.blocks > limit:
        yield "jpeg", f"8x8 blocks stand out {looks.blocks:.2f} times", looks.blocks, limit


def _framed(looks: Looks, _: int) -> Iterator[Said]:
    if looks.frame.share > FRAME:
        sides = [f"{name} {share:.0%}" for name, share in vars(looks.frame).items() if share]
        text = f"bars at {', '.join(sides)}"
        yield "frame", text, looks.frame.share, FRAME


def _area(looks: Looks, _: int) -> Iterator[Said]:
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


def _shape(looks: Looks, resolution: int) -> Iterator[Said]:
    try:
        lost = fit(looks.width, looks.height, _buckets(resolution)).cropped_away
    except UserError:
        lost = 1.0
    if lost > CROP_WARNING:
        text = f"{looks.width}x{looks.height}: {lost:.0%} would be cut off"
        yield "aspect", text, lost, CROP_WARNING


def _file(looks: Looks, _: int) -> Iterator[Said]:
    header = looks.header
    if header.frames > 1:
        yield "animated", f"{header.frames} frames", header.frames, 1
    if header.odd_mode:
        yield "colour-mode", f"mode {header.odd_mode}", 1, 0
    if header.profile:
        yield "profile", header.profile, 1, 0
    if header.turned:
        yield "turned", "EXIF turns it", 1, 0


_CHECKS: tuple[Callable[[Looks, int], Iterator[Said]], ...] = (
    _small, _soft, _compressed, _framed, _area, _shape, _file,
)  # fmt: skip


@cache
def _buckets(resolution: int) -> Dataset:
    """Returns a data set with the usual buckets for a resolution, a multiple of 64."""
    side = max(64, round(resolution / 64) * 64)
    return Dataset(
        resolution=(side, side),
        enable_bucket=True,
        min_bucket_reso=max(64, side // 2),
        max_bucket_reso=side * 2,
    )
