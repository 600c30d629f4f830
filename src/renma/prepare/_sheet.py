"""The contact sheet of a step: what each picture was and what became of it, in one HTML file."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image, ImageDraw

from renma.core.errors import UserError
from renma.core.events import Report
from renma.core.store import write_text
from renma.data.notes import shown
from renma.data.own_file import check_target
from renma.data.pictures import read_straight
from renma.prepare._record import Output, Record, Row

MOST = 300
"""Pictures on one sheet; of more, evenly spaced ones, so that the page opens at once."""
SIDE = 192
"""Longer side of a thumbnail, pixels."""
NAME = "sheet.html"
_MARK = b"<title>renma prepare "
_CHECKS = (255, 204)
"""Two greys of the ground that shows through transparent parts."""


@dataclass(frozen=True)
class Thumb:
    """A small picture inside the page.

    Args:
        data: a ``data:`` address, or empty where the file is gone.
        text: what stands under it.
    """

    data: str
    text: str


def check_sheet(out: Path) -> None:
    """Makes sure that the sheet of a folder is written over nothing but an older one.

    Args:
        out: the folder to fill.

    Raises:
        UserError: it would be.
    """
    check_target(
        out / NAME,
        "renma",
        (".html",),
        lambda head: _MARK in head,
        "Move or rename it: the contact sheet gets this name.",
    )


def write_sheet(
    out: Path,
    folder: Path,
    record: Record,
    report: Report,
    originals: Mapping[str, Path] | None = None,
) -> Path:
    """Writes ``sheet.html`` into a step's folder and returns its path.

    Args:
        out: the step's folder.
        folder: the originals.
        record: what was made of what.
        report: told the progress.
        originals: where sources lie that are not in the folder under their names.

    Raises:
        UserError: something of that name is there that is no sheet.
    """
    paths = originals or {}
    rows = [row for _, row in sorted(record.rows.items()) if row.outputs]
    chosen = rows if len(rows) <= MOST else [rows[i * len(rows) // MOST] for i in range(MOST)]
    pairs = []
    for count, row in enumerate(chosen, 1):
        path = paths.get(row.source, folder / row.source)
        pairs.append((_before(path, row), [_after(out, output) for output in row.outputs]))
        report.event("working", what="the contact sheet", done=count, total=len(chosen))
    head = record.head()
    assert head is not None
    environment = Environment(
        loader=PackageLoader("renma.prepare"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: shown(value) if isinstance(value, str) else value,
    )
    page = environment.get_template("sheet.html").render(
        head=head,
        pairs=pairs,
        total=len(rows),
        skipped=[row for _, row in sorted(record.rows.items()) if row.skipped],
    )
    check_sheet(out)  # it may have come there while the pictures were made
    write_text(out / NAME, page)
    return out / NAME


def thumbnail(picture: Image.Image, boxes: Sequence[tuple[int, int, int, int]] = ()) -> str:
    """Returns a picture as a ``data:`` address, at most SIDE pixels long.

    Args:
        picture: mode RGB or RGBA; what is transparent shows a checkerboard.
        boxes: left, top, right, bottom of frames to draw, in the picture's pixels.
    """
    small = picture.copy()
    small.thumbnail((SIDE, SIDE), Image.Resampling.BICUBIC)
    if small.mode == "RGBA":
        ground = _checkerboard(small.size)
        ground.paste(small, mask=small.getchannel("A"))
        small = ground
    scale = small.width / picture.width
    for box in boxes:
        frame = [round(edge * scale) for edge in box]
        ImageDraw.Draw(small).rectangle(frame, outline=(255, 40, 90), width=2)
    data = io.BytesIO()
    small.save(data, "JPEG", quality=82)
    return f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}"


def _before(path: Path, row: Row) -> Thumb:
    try:
        picture = read_straight(path)
    except UserError:  # removed since
        return Thumb("", row.source)
    frames = [output.box for output in row.outputs if output.box]
    text = f"{row.source} {picture.width}x{picture.height}"
    return Thumb(thumbnail(picture, frames), text)


def _after(out: Path, output: Output) -> Thumb:
    known = {name: value for name, value in output.facts.items() if value not in (None, False)}
    facts = ", ".join(f"{name} {_said(value)}" for name, value in known.items())
    try:
        picture = read_straight(out / output.name)
    except UserError:
        return Thumb("", f"{output.name} (removed) {facts}")
    return Thumb(thumbnail(picture), f"{output.name} {picture.width}x{picture.height} {facts}")


def _said(value: object) -> str:
    if isinstance(value, list | tuple):
        return ",".join(map(_said, value))
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _checkerboard(size: tuple[int, int]) -> Image.Image:
    cell = Image.new("L", (16, 16), _CHECKS[0])
    for corner in ((0, 0), (8, 8)):
        cell.paste(_CHECKS[1], (*corner, corner[0] + 8, corner[1] + 8))
    ground = Image.new("RGB", size)
    for top in range(0, size[1], 16):
        for left in range(0, size[0], 16):
            ground.paste(cell.convert("RGB"), (left, top))
    return ground
