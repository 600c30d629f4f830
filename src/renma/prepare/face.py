"""``renma prepare face``: the faces of pictures cut out, with as much around them as wanted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from renma.config.prepare.face import FaceOptions
from renma.core.errors import UserError
from renma.core.events import Report
from renma.data.pictures import WHITE, flatten, read_straight
from renma.prepare import faces
from renma.prepare._facts import counted, facts
from renma.prepare._sources import Source
from renma.prepare._step import Made, run_step
from renma.prepare.faces.auto import sees_drawings
from renma.prepare.focal import looked
from renma.prepare.frame import Frame, around_face, covering, placed
from renma.prepare.resize import resample

VERSION = 2
_WITHOUT = {"face": 0.0, "corner": 0.5, "entropy": 0.15}
_PORTRAIT = (3, 4)


def run(options: FaceOptions, report: Report) -> None:
    """Cuts the faces out of every picture of a folder.

    Raises:
        UserError: a detector that cannot be used; and see :func:`renma.prepare._step.run_step`.
    """
    work = FaceWork(options)
    work.detector()  # a wrong model is said now, and once, not by every worker
    if options.detector == "auto" and options.model is None and not sees_drawings():
        report.event(
            "warned",
            text="only the detector for photographs is installed; for drawn faces: "
            "pip install animeface or nudenet, or give a network with --model",
        )
    out = run_step("face", options, work, report)
    if not options.dry_run:
        report.line(f"found by: {counted(facts(out), 'detector') or 'none'}")


@dataclass(frozen=True)
class FaceWork:
    """What is done to each picture.

    Args:
        options: of the verb.
    """

    options: FaceOptions

    def key(self) -> Sequence[object]:
        """Returns what the result depends on besides the options."""
        return (VERSION, *faces.identity(self.options.detector, self.options.model))

    def detector(self) -> faces.Detect:
        """Returns what finds faces; loads its network."""
        chosen = self.options
        return faces.opened(chosen.detector, chosen.model, chosen.score)

    def open(self) -> Callable[[Source], list[Made]]:
        """Returns the function for one picture."""
        detect = self.detector()

        def one(source: Source) -> list[Made]:
            picture = read_straight(source.path, self.options.max_pixels)
            return cut(picture, detect, self.options)

        return one


def cut(picture: Image.Image, detect: faces.Detect, options: FaceOptions) -> list[Made]:
    """Returns the cut-outs of a picture, that of the best face first.

    Args:
        picture: mode RGB or RGBA, upright; transparent parts are looked at on white.
        detect: finds faces.
        options: of the verb.

    Raises:
        UserError: no face is found, or none is large enough.
    """
    found = detect(np.asarray(flatten(picture, WHITE)))
    if not found:
        return _without_face(picture, options)
    large: list[Made] = []
    for face in found if options.faces == "all" else found[:1]:
        wanted = around_face(face.box, options.margin, options.hair, options.ratio)
        frame = placed(wanted, picture.size, options.border)
        if min(frame[2] - frame[0], frame[3] - frame[1]) < options.min_size:
            continue
        large.append(_made(picture, frame, _facts(face, len(found)), options))
    if not large:
        raise UserError(
            f"its face is too small: the cut-out would have less than {options.min_size} pixels",
            remedy="Raise --margin, or lower --min-size.",
        )
    return _named(picture, large, options)


def pasted(picture: Image.Image, frame: Frame, color: tuple[int, int, int]) -> Image.Image:
    """Returns what lies in a frame; beyond the border colour, or nothing where that is possible.

    Args:
        picture: mode RGB or RGBA.
        frame: may reach over the border.
        color: of what lies beyond.
    """
    left, top, right, bottom = frame
    size = right - left, bottom - top
    if left >= 0 and top >= 0 and right <= picture.width and bottom <= picture.height:
        return picture.crop(frame)
    ground = (*color, 0) if picture.mode == "RGBA" else color
    made = Image.new(picture.mode, size, ground)
    made.paste(picture, (-left, -top))
    return made


def _made(picture: Image.Image, frame: Frame, said: dict[str, Any], options: FaceOptions) -> Made:
    piece = pasted(picture, frame, options.color)
    if options.size is not None:
        piece = resample(piece, options.size, "lanczos")
    left, top, right, bottom = frame
    over = [-left, -top, right - picture.width, bottom - picture.height]
    if any(edge > 0 for edge in over):
        said["padded"] = [max(0, edge) for edge in over]
    return Made(piece, box=frame, facts=said)


def _facts(face: faces.Face, count: int) -> dict[str, Any]:
    return {
        "detector": face.detector,
        "score": round(face.score, 3),
        "faces": count,
        "face": [round(edge, 1) for edge in face.box],
    }


def _named(picture: Image.Image, made: list[Made], options: FaceOptions) -> list[Made]:
    """Returns the cut-outs with their endings, and before them the whole picture if wanted."""
    stem = "-face" if options.keep_original else ""
    named = [
        Made(each.picture, stem if number == 1 else f"{stem}-{number}", each.box, each.facts)
        for number, each in enumerate(made, 1)
    ]
    return [Made(picture, facts={"whole": True}), *named] if options.keep_original else named


def _without_face(picture: Image.Image, options: FaceOptions) -> list[Made]:
    """Returns what becomes of a picture without a face."""
    if options.missing == "skip":
        raise UserError("no face was found")
    if options.missing == "copy":
        return [Made(picture, facts={"detector": "no face, copied"})]
    ratio = {"square": (1, 1), "portrait": _PORTRAIT}.get(options.shape, picture.size)
    aim = _largest(picture.size, options.size or ratio)
    point = looked(picture, aim, None, _WITHOUT).point
    frame = placed((*point, *aim), picture.size, "shift")
    if min(aim) < options.min_size:
        raise UserError(f"no face was found, and it has less than {options.min_size} pixels")
    made = _made(picture, frame, {"detector": "no face, focal point"}, options)
    return _named(picture, [made], options)


def _largest(size: tuple[int, int], ratio: tuple[int, int]) -> tuple[int, int]:
    """Returns width and height of the largest frame of a ratio in a picture."""
    left, top, right, bottom = covering((0, 0), size, ratio)
    return max(1, round(right - left)), max(1, round(bottom - top))
