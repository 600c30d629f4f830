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

from renma.config.prepare.erase import EraseOptions
from renma.core.errors import UserError, did_you_mean
from renma.core.events import Report
from renma.core.place import near
from renma.core.store import file_hash
from renma.data.notes import shown
from renma.data.pictures import ENDINGS, WHITE, flatten, read_mask, read_straight
from renma.prepare import boxes, corner_text, inpaint
from renma.prepare._facts import counted, facts
from renma.prepare._sources import Source, find
from renma.prepare._step import Made, run_step

VERSION = 2
_GROW = 0.005
_CLEAR, _PAINTED = 32, 0.9
"""A mask has at least this share of values so near to black or white."""
_FAINT = 8
"""Opacity, of 255, below which a pixel's stored colour says nothing."""


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
    devices = counted(found, "device")
    where = f"; the network ran on: {devices}" if devices else ""
    line = f"{len(found) - without} pictures with something erased"
    report.line(f"{line}, {without} had nothing marked and are as they were{where}")


@dataclass(frozen=True)
class EraseWork:
    """What is done to each picture.

    Args:
        options: of the verb.
        masks: files by the names of their pictures, without ending.
        places: listed places by the names of their pictures.
    """

    options: EraseOptions
    masks: dict[str, Path] = field(default_factory=dict)
    places: dict[str, tuple[boxes.Place, ...]] = field(default_factory=dict)

    @staticmethod
    def of(options: EraseOptions) -> EraseWork:
        """Returns the work, with every mask and every line of the table given its picture.

        Raises:
            UserError: one belongs to no picture.
        """
        names = [source.name for source in find(options.folder)]
        masks = _masks(options.masks, names) if options.masks else {}
        places = boxes.read(options.boxes, names) if options.boxes else {}
        return EraseWork(options, masks, places)

    def key(self) -> Sequence[object]:
        """Returns what the result depends on besides the options."""
        model = self.options.model
        masks = sorted((name, file_hash(path)) for name, path in self.masks.items())
        listed = [(n, [(p.values, p.shares) for p in own]) for n, own in self.places.items()]
        return (VERSION, file_hash(model) if model else "", masks, sorted(listed))

    def open(self) -> Callable[[Source], list[Made]]:
        """Returns the function for one picture."""
        filler = inpaint.opened(self.options.method, self.options.model)

        def one(source: Source) -> list[Made]:
            picture = read_straight(source.path, self.options.max_pixels)
            hole = self.hole(picture, source.name)
            made = erased(picture, hole, filler, self.options)
            if hole.any() and (device := inpaint.device(filler)):
                made.facts["device"] = device
            return [made]

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
        places = [place.box(picture.size, clipped=True) for place in self.options.places]
        places += [place.box(picture.size) for place in self.places.get(name, ())]
        if self.options.detect == "corner-text":
            places += corner_text.find(np.asarray(flatten(picture, WHITE)))
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
    rgb = np.asarray(picture)[..., :3]
    shown = rgb if picture.mode == "RGB" else _shown(np.asarray(picture), wide)
    colors = inpaint.fill(shown, wide, filler, feather)
    filled = Image.fromarray(np.where(wide[..., None], colors, rgb))
    if picture.mode == "RGBA":
        filled.putalpha(_opacity(picture, wide, feather))
    top, left = np.argwhere(hole).min(axis=0).tolist()
    bottom, right = (np.argwhere(hole).max(axis=0) + 1).tolist()
    said = {"erased": round(float(hole.mean()), 5), "around": [left, top, right, bottom]}
    return Made(filled, facts=said)


def _shown(pixels: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """Returns colours, uint8 (height, width, 3), without those that nobody sees.

    What is stored under transparency may be anything. The nearest colour that is seen outside of
    the hole takes its place, so that the figure goes on into the hole and its rim.

    Args:
        pixels: uint8 (height, width, 4).
        hole: bool (height, width).
    """
    import cv2

    colors, faint = pixels[..., :3], pixels[..., 3] < _FAINT
    seen = ~faint & ~hole
    if not seen.any():
        return np.where(faint[..., None], np.uint8(255), colors)
    unseen = (~seen).astype(np.uint8)
    _, labels = cv2.distanceTransformWithLabels(
        unseen, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    nearest = labels.astype(np.intp)
    by_label = np.zeros((int(nearest.max()) + 1, 3), np.uint8)
    by_label[nearest[seen]] = colors[seen]
    return np.where(faint[..., None], by_label[nearest], colors)


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
    values = np.asarray(mask)
    clear = float(((values <= _CLEAR) | (values >= 255 - _CLEAR)).mean())
    if clear < _PAINTED:
        raise UserError(
            f"its mask {shown(path)} is no painted mask: only {clear:.0%} of it is black or white",
            remedy="Give the folder of masks with --masks, not photographs.",
        )
    return values >= 128


def _masks(folder: Path, names: list[str]) -> dict[str, Path]:
    """Returns the mask of each picture that has one.

    Raises:
        UserError: no such folder, or a mask that belongs to no picture.
    """
    if not folder.is_dir():
        raise UserError(
            "there is no such folder of masks", where=shown(folder), remedy=shown(near(folder))
        )
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
