"""``renma prepare crop``: frames off, the subject cut out, figures cut where it is sensible."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

import numpy as np
from PIL import Image

from renma.config.prepare.crop import CropOptions
from renma.core.errors import UserError
from renma.core.events import Report
from renma.core.store import file_hash
from renma.data import buckets
from renma.data.notes import shown
from renma.data.pictures import WHITE, flatten, read_straight
from renma.prepare import body, borders, boxes, cut_box, faces, saliency, subject
from renma.prepare._facts import counted, facts
from renma.prepare._sources import Source, find
from renma.prepare._step import Made, run_step
from renma.prepare.borders import Box
from renma.prepare.subject._sure import warn_of_unsure

VERSION = 2
_SURE = 0.5
_SPECK = 0.02
"""Parts of a mask smaller than this share of the largest one are no subject."""
_FACE_ROOM = 0.1
_HEADED = ("head", "bust", "waist", "thigh")
"""Parts that a figure without a face or a neck does not have."""


def run(options: CropOptions, report: Report) -> None:
    """Cuts every picture of a folder.

    Raises:
        UserError: a list of boxes or a network that cannot be used; and see
            :func:`renma.prepare._step.run_step`.
    """
    if options.aspect == "bucket":
        buckets.validate_sizes(options.dataset(options.resolution))
    work = CropWork.of(options)
    work.eyes()  # a wrong model is said now, and once, not by every worker
    out = run_step("crop", options, work, report)
    if options.dry_run:
        return
    found = facts(out)
    for name, said in (("backend", "subjects found by"), ("head", "heads found by")):
        if text := counted(found, name):
            report.line(f"{said}: {text}")
    warn_of_unsure(found, report)
    if text := counted(found, "missing"):
        report.event("warned", text=f"kept without what was not found in them: {text}")
    short = list(dict.fromkeys(each["source"] for each in found if each.get("cut_by_aspect")))
    if short:
        named = ", ".join(map(shown, short[:5])) + (", ..." if short[5:] else "")
        who = "1 subject was" if len(short) == 1 else f"{len(short)} subjects were"
        report.event("warned", text=f"{who} cut by --aspect: {named}")
    if options.borders:
        cut = sum(bool(each.get("framed")) for each in found)
        report.line(f"{cut} of {len(found)} had a frame")


@dataclass(frozen=True)
class Eyes:
    """What looks at a picture, loaded once a worker.

    Args:
        finder: finds the subject; None where none is looked for.
        faces: finds faces; None where figures are not cut.
    """

    finder: subject.Finder | None = None
    faces: faces.Detect | None = None


@dataclass(frozen=True)
class Found:
    """Something to cut out.

    Args:
        box: what is to be seen; left, top, right, bottom.
        name: what it is, for the file's name.
        keep: boxes that no edge may go through.
        margins: pixels to leave at the left, above, at the right, below.
        facts: how it was found.
    """

    box: Box
    name: str = ""
    keep: tuple[Box, ...] = ()
    margins: tuple[int, int, int, int] = (0, 0, 0, 0)
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class CropWork:
    """What is done to each picture.

    Args:
        options: of the verb.
        places: listed boxes by the names of their pictures.
    """

    options: CropOptions
    places: dict[str, tuple[boxes.Place, ...]] = field(default_factory=dict)

    @staticmethod
    def of(options: CropOptions) -> CropWork:
        """Returns the work, with every listed box given its picture.

        Raises:
            UserError: one belongs to no picture.
        """
        if options.boxes is None:
            return CropWork(options)
        names = [source.name for source in find(options.folder)]
        return CropWork(options, boxes.read(options.boxes, names))

    def key(self) -> Sequence[object]:
        """Returns what the result depends on besides the options."""
        chosen = self.options
        model = file_hash(chosen.model) if chosen.model else ""
        listed = [
            (name, [(p.values, p.shares) for p in self.places[name]])
            for name in sorted(self.places)
        ]
        seeing = faces.identity("auto") if chosen.body or chosen.cut_arms else ()
        return (VERSION, model, listed, *seeing)

    def eyes(self) -> Eyes:
        """Returns what looks at the pictures; loads its networks."""
        chosen = self.options
        if not chosen.by_mask:
            return Eyes()
        finder = subject.opened(chosen.backend, chosen.model)
        figure = bool(chosen.body) or chosen.cut_arms
        return Eyes(finder, faces.opened("auto") if figure else None)

    def open(self) -> Callable[[Source], list[Made]]:
        """Returns the function for one picture."""
        eyes = self.eyes()

        def one(source: Source) -> list[Made]:
            picture = read_straight(source.path, self.options.max_pixels)
            places = self.places.get(source.name, ())
            return cut(picture, self.options, eyes, places)

        return one


def cut(
    picture: Image.Image, options: CropOptions, eyes: Eyes, places: Sequence[boxes.Place] = ()
) -> list[Made]:
    """Returns what is cut out of a picture.

    Args:
        picture: mode RGB or RGBA, upright.
        options: of the verb.
        eyes: what looks for subject and faces.
        places: listed boxes.

    Raises:
        UserError: nothing was found in it, or it is too small.
    """
    frame: Box = (0, 0, *picture.size)
    if options.borders:
        pixels = np.asarray(picture)
        frame = borders.find(pixels, options.tolerance, one_sided=options.one_sided)
    inner = picture.crop(frame)
    try:
        found = (
            _listed(places, picture.size, options) if options.boxes else _seen(inner, options, eyes)
        )
    except UserError as error:
        if options.missing == "copy" or options.keep_original:
            return [Made(picture, facts={"whole": True, "missing": error.what})]
        raise
    made: list[Made] = []
    for each in found:
        left, top, right, bottom = _fitted(each, inner.size, options)
        box = (left + frame[0], top + frame[1], right + frame[0], bottom + frame[1])
        if box in [m.box for m in made]:  # a waist below the picture's end is the same as a thigh
            continue
        said = {**each.facts, "kept": round(_area(box) / _area((0, 0, *picture.size)), 3)}
        if options.aspect != "free" and not _on_box(each.box, (left, top, right, bottom)):
            said["cut_by_aspect"] = True
        if options.borders:
            said["framed"] = _area(frame) < picture.width * picture.height
        made.append(Made(picture.crop(box), each.name, box, said))
    return _named(picture, made, options)


def _seen(picture: Image.Image, options: CropOptions, eyes: Eyes) -> list[Found]:
    """Returns what is found in a picture without its frame."""
    whole: Box = (0, 0, *picture.size)
    flat = np.asarray(flatten(picture, WHITE))
    if options.saliency:
        box = saliency.box(flat)
        if box is None:
            raise UserError("nothing in it stands out")
        return [Found(box, margins=_margins(box, options), facts={"backend": "saliency"})]
    if eyes.finder is None:
        return [Found(whole)]
    alpha = np.asarray(picture.getchannel("A")) if picture.mode == "RGBA" else None
    shape = eyes.finder(flat, alpha)
    mask = without_specks(shape.mask >= _SURE)
    if not mask.any():
        raise UserError("no subject was found", remedy="Try another --backend.")
    seen = eyes.faces(flat) if eyes.faces else []
    heads = tuple(_whole_box(face.box, picture.size) for face in seen)
    how = {name: shape.how[name] for name in ("start", "sure") if name in shape.how}
    said = {"backend": shape.backend, **how}
    found: list[Found] = []
    missing: list[str] = []
    for part in options.body or ("keep",):
        try:
            found.append(_part(part, mask, heads, options, said))
        except UserError as error:
            missing.append(f"{part}: {error.what}")
            if set(options.body) <= {*_HEADED}:  # nothing else to make of it
                raise
    if missing:
        found[0].facts["missing"] = "; ".join(missing)
    return found


def _part(
    part: str, mask: np.ndarray, heads: tuple[Box, ...], options: CropOptions, said: dict[str, Any]
) -> Found:
    """Returns one part of a figure."""
    said = dict(said)
    end = mask.shape[0]
    if part != "keep":
        own = tuple(head for head in heads if _on(mask, head))
        figure = body.measured(mask, own)
        if figure is None:
            raise UserError("no head was found: neither a face nor a neck")
        end = figure.row(part)
        said |= {"body": part if end < figure.bottom else "all there is", "head": figure.head}
    upper = mask[:end]
    box = subject.box(upper.astype(np.float32))
    assert box is not None
    left, above, right, below = _margins(box, options)
    if options.cut_arms:
        start, stop = body.trunk(upper)
        said["arms"] = "cut" if start > box[0] or stop < box[2] else "within"
        left, right = (0 if start > box[0] else left), (0 if stop < box[2] else right)
        box = max(start, box[0]), box[1], min(stop, box[2]), box[3]
    below = below if part == "keep" or end == mask.shape[0] else 0
    name = "" if part == "keep" else f"-{part}"
    return Found(box, name, heads, (left, above, right, below), said)


def without_specks(mask: np.ndarray) -> np.ndarray:
    """Returns a mask without parts that are tiny beside the largest one.

    Args:
        mask: bool (height, width).
    """
    import cv2

    count, parts, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    if count <= 2:
        return mask
    areas = stats[1:, cv2.CC_STAT_AREA]
    large = np.flatnonzero(areas >= _SPECK * areas.max()) + 1
    return np.isin(parts, large)


def _listed(
    places: Sequence[boxes.Place], size: tuple[int, int], options: CropOptions
) -> list[Found]:
    if not places:
        raise UserError(f"is not in {options.boxes}")
    found = [place.box(size) for place in places]
    wide = "margin" in options.model_fields_set
    none = (0, 0, 0, 0)
    return [Found(box, margins=_margins(box, options) if wide else none) for box in found]


def _fitted(found: Found, size: tuple[int, int], options: CropOptions) -> Box:
    """Returns the box with margins, in the shape and the size that are asked for.

    Raises:
        UserError: the picture is too small for it.
    """
    heads = [_with_room(head, size) for head in found.keep]
    box = cut_box.widened(found.box, found.margins, size)
    box = cut_box.around(box, heads, size)
    box = cut_box.at_least(box, options.min_size, size)
    ratio = _ratio(box, size, options)
    if ratio is not None:
        inside = [h for h in heads if cut_box.around(box, [h], size) == box and _on_box(h, box)]
        tall = options.by_mask and found.box[3] - found.box[1] > found.box[2] - found.box[0]
        box = cut_box.shaped(box, ratio, size, inside[0] if inside else None, upright=tall)
    if min(box[2] - box[0], box[3] - box[1]) < options.min_size:
        raise UserError(
            f"is too small: the cut-out has {box[2] - box[0]}x{box[3] - box[1]} pixels",
            remedy="Lower --min-size.",
        )
    return box


def _ratio(box: Box, size: tuple[int, int], options: CropOptions) -> Fraction | None:
    if options.aspect == "keep":
        return Fraction(*size)
    if options.aspect == "bucket":
        fit = buckets.fit(box[2] - box[0], box[3] - box[1], options.dataset(options.resolution))
        return Fraction(fit.width, fit.height)
    return options.ratio


def _named(picture: Image.Image, made: list[Made], options: CropOptions) -> list[Made]:
    """Returns the cut-outs with their endings, and before them the whole picture if wanted."""
    alone = len(made) == 1 and not options.keep_original
    taken: dict[str, int] = {}
    named = []
    for each in made:
        stem = each.suffix or ("-crop" if options.keep_original else "")
        taken[stem] = taken.get(stem, 0) + 1
        ending = f"{stem}-{taken[stem]}" if taken[stem] > 1 else stem
        named.append(replace(each, suffix="" if alone else ending))
    if not options.keep_original:
        return named
    return [Made(picture, facts={"whole": True}), *named]


def _margins(box: Box, options: CropOptions) -> tuple[int, int, int, int]:
    side = round(options.margin * max(box[2] - box[0], box[3] - box[1]))
    return side, side, side, side


def _with_room(head: Box, size: tuple[int, int]) -> Box:
    room = round(_FACE_ROOM * max(head[2] - head[0], head[3] - head[1]))
    return cut_box.widened(head, (room, room, room, room), size)


def _whole_box(box: tuple[float, float, float, float], size: tuple[int, int]) -> Box:
    """Returns a detector's box in whole pixels inside the picture."""
    left, top = max(0, int(box[0])), max(0, int(box[1]))
    return left, top, min(size[0], int(box[2] + 0.999)), min(size[1], int(box[3] + 0.999))


def _on(mask: np.ndarray, head: Box) -> bool:
    inside = mask[head[1] : head[3], head[0] : head[2]]
    return bool(inside.size) and float(inside.mean()) >= 0.5


def _on_box(head: Box, box: Box) -> bool:
    return box[0] <= head[0] and box[1] <= head[1] and head[2] <= box[2] and head[3] <= box[3]


def _area(box: Box) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])
