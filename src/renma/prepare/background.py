"""``renma prepare background``: the subject on white, on any colour, or on nothing.

A transparent picture is laid on a colour, never stripped of its alpha: ``convert("RGB")`` would
show whatever colour lies stored under the transparent parts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from renma.config.prepare.background import BackgroundOptions
from renma.core.errors import UserError
from renma.core.events import Report
from renma.core.store import file_hash
from renma.data.pictures import WHITE, flatten, read_straight
from renma.prepare import subject
from renma.prepare._facts import counted, facts
from renma.prepare._sources import Source
from renma.prepare._step import Made, run_step
from renma.prepare.subject import _edges
from renma.prepare.subject._sure import warn_of_unsure

VERSION = 2
_ALL = 0.995
"""A subject of more than this share of a picture leaves no background worth the name."""


def run(options: BackgroundOptions, report: Report) -> None:
    """Takes the background away from every picture of a folder.

    Raises:
        UserError: a model that cannot be used; and see :func:`renma.prepare._step.run_step`.
    """
    if options.backend in {"alpha", "flat"} and options.edge is not None:
        text = f"--edge has no effect: --backend {options.backend} tells edges exactly"
        report.event("warned", text=text)
    work = BackgroundWork(options)
    work.finder()  # a wrong model is said now, and once, not by every worker
    out = run_step("background", options, work, report)
    if options.dry_run:
        return
    found = facts(out)
    if found:
        devices = counted(found, "device")
        where = f"; their networks ran on: {devices}" if devices else ""
        report.line(f"subjects found by: {counted(found, 'backend')}{where}")
    warn_of_unsure(found, report)
    whole = sum(each["subject"] > _ALL for each in found)
    if whole:
        text = f"{whole} pictures are nearly all subject: look whether a background is left there"
        report.event("warned", text=text)


@dataclass(frozen=True)
class BackgroundWork:
    """What is done to each picture.

    Args:
        options: of the verb.
    """

    options: BackgroundOptions

    def key(self) -> Sequence[object]:
        """Returns what the result depends on besides the options."""
        model = self.options.model
        return (VERSION, file_hash(model) if model else "")

    def finder(self) -> subject.Finder:
        """Returns what finds the subject; loads the network."""
        chosen = self.options
        return subject.opened(chosen.backend, chosen.model, chosen.model_kind)

    def open(self) -> Callable[[Source], list[Made]]:
        """Returns the function for one picture."""
        finder = self.finder()

        def one(source: Source) -> list[Made]:
            if self.options.ground is None and self._stays_jpeg(source):
                raise UserError(
                    "is a JPEG, which cannot be transparent", remedy="Choose --format png."
                )
            picture = read_straight(source.path, self.options.max_pixels)
            made, mask = taken_away(picture, finder, self.options)
            return [replace(made, extra={"save_masks": grey(mask)})]

        return one

    def _stays_jpeg(self, source: Source) -> bool:
        return self.options.format == "same" and source.path.suffix.lower() in {".jpg", ".jpeg"}


def taken_away(
    picture: Image.Image, finder: subject.Finder, options: BackgroundOptions
) -> tuple[Made, np.ndarray]:
    """Returns a picture without its background, and the mask, float32 (height, width).

    Args:
        picture: mode RGB or RGBA, upright.
        finder: finds the subject.
        options: threshold, edges, colour.

    Raises:
        UserError: no subject is found.
    """
    alpha = np.asarray(picture.getchannel("A")) if picture.mode == "RGBA" else None
    flat = np.asarray(flatten(picture, WHITE))
    found = finder(flat, alpha)
    mask = fitted(flat, found, options)
    share = float(mask.mean())
    if not (mask >= 0.5).any():
        raise UserError("no subject was found", remedy="Try another --backend or --threshold.")
    if options.invert:
        mask = 1 - mask
    own = found.backend == "alpha" and not options.invert
    # colours of a transparent picture are stored unmixed already
    colors = np.asarray(picture.convert("RGB")) if own else _edges.own_colors(flat, mask)
    said = {"backend": found.backend, "subject": round(share, 3), **found.how}
    return Made(laid(colors, mask, options.ground), facts=said), mask


def fitted(rgb: np.ndarray, found: subject.Found, options: BackgroundOptions) -> np.ndarray:
    """Returns the mask after threshold, specks, holes and edges; float32 (height, width).

    The picture's own transparency is taken as it is, unless a threshold is asked for.

    Args:
        rgb: uint8 (height, width, 3).
        found: the subject.
        options: threshold, edge, specks, holes.
    """
    if found.backend == "alpha" and options.threshold is None:
        return found.mask
    hard = _edges.chosen(found.mask, options.threshold or 0.5)
    clean = _edges.tidied(hard, options.specks, options.holes)
    if found.sharp and options.threshold is None:
        soft = np.where(clean == hard, found.mask, clean.astype(np.float32))
        near = _near(clean)  # the soft rim of a speck that was dropped goes with it
        return np.where(near, soft, clean).astype(np.float32)
    radius = options.edge if options.edge is not None else max(2, min(rgb.shape[:2]) // 60)
    return _edges.softened(rgb, clean, 0 if found.sharp else radius)


def laid(colors: np.ndarray, mask: np.ndarray, ground: tuple[int, int, int] | None) -> Image.Image:
    """Returns the subject on a colour (mode RGB), or on nothing (mode RGBA).

    Where nothing is left, white is stored: programs that drop alpha then show white.

    Args:
        colors: uint8 (height, width, 3), of the subject alone.
        mask: float32 (height, width), 0 to 1.
        ground: red, green, blue; None for transparent.
    """
    alpha = (mask * 255).round().astype(np.uint8)
    shown = np.where(alpha[..., None] == 0, np.uint8(255), colors)
    picture = Image.fromarray(np.dstack([shown, alpha]))
    return picture if ground is None else flatten(picture, ground)


def grey(mask: np.ndarray) -> Image.Image:
    """Returns a mask, 0 to 1, as a grey picture, white for the subject."""
    return Image.fromarray((mask * 255).round().astype(np.uint8))


def _near(hard: np.ndarray) -> np.ndarray:
    import cv2

    return cv2.dilate(hard.astype(np.uint8), np.ones((7, 7), np.uint8)).astype(bool)
