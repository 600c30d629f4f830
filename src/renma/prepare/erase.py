"""``renma prepare erase``: objects, signatures and writing taken out, the hole filled.

What lies outside of the holes is the same as before, bit by bit.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from renma.config.prepare.erase import EraseOptions, place
from renma.core.errors import UserError, did_you_mean
from renma.core.events import Report
from renma.core.store import file_hash
from renma.data.notes import shown
from renma.data.pictures import ENDINGS, read_mask, read_straight
from renma.prepare import corner_text, inpaint
from renma.prepare._facts import facts
from renma.prepare._sources import Source, find
from renma.prepare._step import Made, run_step
from renma.prepare.box_table import read_boxes

VERSION = 1
_GROW = 0.005


def run(options: EraseOptions, report: Report) -> None:
    """Takes marked places out of every picture of a folder.

    Raises:
        UserError: masks or places that belong to no picture, a network that cannot be used; and
            see :func:`renma.prepare._step.run_step`.
    """
    work = EraseWork.of(options)
    inpaint.opened(options.method, options.model)  # a wrong file is said once, before the work
    out = run_step("erase", options, work, report)
    if options.dry_run:
        return
    found = facts(out)
    without = sum(each["erased"] == 0 for each in found)
    line = f"{len(found) - without} pictures with something erased"
    report.line(f"{line}, {without} had nothing marked and are as they were")


@dataclass(frozen=True)
class EraseWork:
    """What is done to each picture.

    Args:
        options: of the verb.
        masks: files by the names of their pictures, without ending.
        boxes: written places by the names of their pictures.
    """

    options: EraseOptions
    masks: dict[str, Path] = field(default_factory=dict)
    boxes: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @staticmethod
    def of(options: EraseOptions) -> EraseWork:
        """Returns the work, with every mask and every line of the table given its picture.

        Raises:
            UserError: one belongs to no picture.
        """
        names = [source.name for source in find(options.folder)]
        masks = _masks(options.masks, names) if options.masks else {}
        boxes = read_boxes(options.boxes, names) if options.boxes else {}
        return EraseWork(options, masks, boxes)

    def key(self) -> Sequence[object]:
        """Returns what the result depends on besides the options."""
        model = self.options.model
        masks = sorted((name, file_hash(path)) for name, path in self.masks.items())
        return (VERSION, file_hash(model) if model else "", masks, sorted(self.boxes.items()))

    def open(self) -> Callable[[Source], list[Made]]:
        """Returns the function for one picture."""
        alone = self.options.executor == "serial" or self.options.workers == 1
        threads = 0 if alone else 1
        filler = inpaint.opened(self.options.method, self.options.model, threads)

        def one(source: Source) -> list[Made]:
            picture = read_straight(source.path, self.options.max_pixels)
            hole = self.hole(picture, source.name)
            return [erased(picture, hole, filler, self.options)]

        return one

    def hole(self, picture: Image.Image, name: str) -> np.ndarray:
        """Returns what is to be erased of a picture, bool (height, width).

        Raises:
            UserError: a mask of another shape, or a place outside of the picture.
        """
        width, height = picture.size
        hole = np.zeros((height, width), bool)
        if mask := self.masks.get(name):
            hole |= _mask(mask, picture.size, self.options.max_pixels)
        places = [place(b, width, height) for b in (*self.options.box, *self.boxes.get(name, ()))]
        if self.options.detect == "corner-text":
            places += corner_text.find(np.asarray(picture.convert("RGB")))
        for left, top, right, bottom in places:
            hole[top:bottom, left:right] = True
        return hole


def erased(
    picture: Image.Image, hole: np.ndarray, filler: inpaint.Filler, options: EraseOptions
) -> Made:
    """Returns a picture with a hole filled; without a hole it is the same.

    Args:
        picture: mode RGB or RGBA.
        hole: bool (height, width), what the user marked.
        filler: fills it.
        options: how far the hole grows and fades.

    Raises:
        UserError: everything is marked.
    """
    if not hole.any():
        return Made(picture, facts={"erased": 0})
    usual = max(3, round(_GROW * min(picture.size)), options.feather or 0)
    grow = usual if options.grow is None else options.grow
    feather = grow // 2 if options.feather is None else options.feather
    wide = inpaint.grown(hole, grow)
    if wide.all():
        raise UserError("is marked all over: nothing is left to fill it from")
    rgb = np.asarray(picture.convert("RGB"))
    filled = Image.fromarray(inpaint.fill(rgb, wide, filler, feather))
    if picture.mode == "RGBA":
        filled.putalpha(_opacity(picture, wide, feather))
    top, left = np.argwhere(hole).min(axis=0).tolist()
    bottom, right = (np.argwhere(hole).max(axis=0) + 1).tolist()
    said = {"erased": round(float(hole.mean()), 5), "around": [left, top, right, bottom]}
    return Made(filled, facts=said)


def _opacity(picture: Image.Image, hole: np.ndarray, feather: int) -> Image.Image:
    """Returns the alpha with the hole filled too: a name on nothing becomes nothing."""
    alpha = np.repeat(np.asarray(picture.getchannel("A"))[..., None], 3, axis=2)
    filler = inpaint.opened("telea")
    return Image.fromarray(inpaint.fill(alpha, hole, filler, feather)[..., 0])


def _mask(path: Path, size: tuple[int, int], max_pixels: int) -> np.ndarray:
    mask = read_mask(path, max_pixels)
    if mask.size != size:
        raise UserError(
            f"its mask {shown(path)} has {mask.width}x{mask.height} pixels, it has "
            f"{size[0]}x{size[1]}",
            remedy="Paint the mask on a copy of the picture.",
        )
    return np.asarray(mask) >= 128


def _masks(folder: Path, names: list[str]) -> dict[str, Path]:
    """Returns the mask of each picture that has one.

    Raises:
        UserError: no such folder, or a mask that belongs to no picture.
    """
    if not folder.is_dir():
        raise UserError("there is no such folder of masks", where=folder)
    by_place = {_stem(name): name for name in names}
    by_name: dict[str, list[str]] = {}
    for name in names:
        by_name.setdefault(PurePosixPath(_stem(name)).name, []).append(name)
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if path.suffix.lower() not in ENDINGS or any(p.startswith(".") for p in inside.parts):
            continue
        stem = _stem(inside.as_posix())
        pictures = [by_place[stem]] if stem in by_place else by_name.get(stem, [])
        if not pictures:
            hint = did_you_mean(stem, by_place)
            raise UserError("is the mask of no picture", where=shown(path), remedy=hint)
        found |= dict.fromkeys(pictures, path)
    if not found:
        raise UserError("holds no masks", where=folder)
    return found


def _stem(name: str) -> str:
    return unicodedata.normalize("NFC", str(PurePosixPath(name).with_suffix("")))
