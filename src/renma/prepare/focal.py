"""``renma prepare focal``: the largest cut-out of one shape around what draws the eye."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageDraw

from renma.config.prepare.focal import FocalOptions
from renma.core.errors import UserError
from renma.core.events import Report
from renma.data.pictures import WHITE, flatten, read_straight
from renma.prepare import faces, focus
from renma.prepare._facts import counted, facts
from renma.prepare._sources import Source
from renma.prepare._step import Made, run_step
from renma.prepare.frame import covering
from renma.prepare.resize import resample

VERSION = 2
_LARGEST = 1024
"""Longer side of the picture that is looked at: more shows nothing more."""
_COLORS = {"face": (255, 40, 60), "corner": (60, 110, 255), "entropy": (250, 220, 40)}
_FOCUS = (40, 210, 90)


def run(options: FocalOptions, report: Report) -> None:
    """Cuts every picture of a folder to one size around its focal point.

    Raises:
        UserError: a detector that cannot be used; and see :func:`renma.prepare._step.run_step`.
    """
    work = FocalWork(options)
    work.detector()  # a wrong model is said now, and once, not by every worker
    out = run_step("focal", options, work, report)
    if not options.dry_run:
        report.line(f"cut around: {counted(facts(out), 'by') or 'nothing'}")


@dataclass(frozen=True)
class FocalWork:
    """What is done to each picture.

    Args:
        options: of the verb.
    """

    options: FocalOptions

    def key(self) -> Sequence[object]:
        """Returns what the result depends on besides the options."""
        import cv2

        chosen = self.options
        known = faces.identity(chosen.detector, chosen.model) if chosen.face_weight else ()
        return (VERSION, cv2.__version__, *known)

    def detector(self) -> faces.Detect | None:
        """Returns what finds faces, or None where they do not count."""
        chosen = self.options
        if not chosen.face_weight:
            return None
        return faces.opened(chosen.detector, chosen.model, chosen.score)

    def open(self) -> Callable[[Source], list[Made]]:
        """Returns the function for one picture."""
        detect = self.detector()

        def one(source: Source) -> list[Made]:
            picture = read_straight(source.path, self.options.max_pixels)
            made, found = cut(picture, detect, self.options)
            if self.options.overlay:
                assert made.box is not None
                made = replace(made, extra={"overlay": drawn(picture, found, made.box)})
            return [made]

        return one


def cut(
    picture: Image.Image, detect: faces.Detect | None, options: FocalOptions
) -> tuple[Made, focus.Focus]:
    """Returns the cut-out, and what drew it, in pixels of the picture.

    Args:
        picture: mode RGB or RGBA, upright.
        detect: finds faces; None to go without.
        options: size and weights.

    Raises:
        UserError: the picture is smaller than the size, and is not to be enlarged.
    """
    width, height = options.size
    enlarged = picture.width < width or picture.height < height
    if enlarged and options.small == "skip":
        raise UserError(f"has {picture.width}x{picture.height} pixels, less than {width}x{height}")
    weights = {
        "face": options.face_weight if detect else 0.0,
        "corner": options.corner_weight,
        "entropy": options.entropy_weight,
    }
    found = looked(picture, options.size, detect, weights)
    box = covering(found.point, picture.size, options.size)
    made = resample(picture, options.size, "lanczos", box=box)
    said = {"by": " and ".join(found.sets) or "the middle", "enlarged": enlarged}
    whole = (round(box[0]), round(box[1]), round(box[2]), round(box[3]))
    x, y = (round(part, 1) for part in found.point)
    return Made(made, box=whole, facts={**said, "focus": [x, y]}), found


def looked(
    picture: Image.Image,
    aim: tuple[int, int],
    detect: faces.Detect | None,
    weights: dict[str, float],
) -> focus.Focus:
    """Returns the focal point of a picture, in its pixels.

    Args:
        picture: mode RGB or RGBA; transparent parts count as white.
        aim: width and height whose shape the cut-out will have.
        detect: finds faces.
        weights: of ``face``, ``corner`` and ``entropy``; 0 does not look.
    """
    flat = flatten(picture, WHITE)
    # looked at in the size of the cut-out: fine grain and JPEG blocks are no corners of the motif
    scale = max(aim[0] / flat.width, aim[1] / flat.height, 1e-9)
    scale = min(scale, _LARGEST / max(flat.size), 1.0)
    size = max(1, round(flat.width * scale)), max(1, round(flat.height * scale))
    small = np.asarray(flat.resize(size, Image.Resampling.BOX)) if scale < 1 else np.asarray(flat)
    ratio = flat.width / size[0], flat.height / size[1]
    fits = min(size[0] / aim[0], size[1] / aim[1])
    window = max(1, round(aim[0] * fits)), max(1, round(aim[1] * fits))
    sets: dict[str, list[focus.Point]] = {}
    if detect is not None and weights["face"]:
        sets["face"] = [focus.eyes(face.box) for face in detect(np.asarray(flat))]
    if weights["corner"]:
        sets["corner"] = _times(focus.corners(small), ratio)
    if weights["entropy"]:
        sets["entropy"] = _times(focus.richest(small, window), ratio)
    return focus.weighed(sets, weights, flat.size)


def drawn(picture: Image.Image, found: focus.Focus, box: tuple[int, int, int, int]) -> Image.Image:
    """Returns the picture, on white, with points, focus and cut-out drawn in."""
    shown = flatten(picture, WHITE).copy()
    draw = ImageDraw.Draw(shown)
    unit = max(2, round(max(shown.size) / 200))
    for kind, points in found.sets.items():
        for x, y in points:
            reach = unit * (1 if kind == "corner" else 3)
            draw.ellipse((x - reach, y - reach, x + reach, y + reach), outline=_COLORS[kind],
                         width=unit)  # fmt: skip
    x, y = found.point
    draw.line((x - 4 * unit, y, x + 4 * unit, y), fill=_FOCUS, width=unit)
    draw.line((x, y - 4 * unit, x, y + 4 * unit), fill=_FOCUS, width=unit)
    left, top, right, bottom = box
    draw.rectangle((left, top, right - 1, bottom - 1), outline=_FOCUS, width=unit)
    return shown


def _times(points: list[focus.Point], ratio: tuple[float, float]) -> list[focus.Point]:
    return [(x * ratio[0], y * ratio[1]) for x, y in points]
