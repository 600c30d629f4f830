"""What is drawn on pictures by hand: frames to cut out, masks to train with, holes to erase.

Pictures themselves are never written to. Beside a folder ``train`` lie ``train-frames.csv``,
``train-masks`` and ``train-erase``, in the forms that ``renma prepare crop --boxes``, ``mask_dir``
and ``renma prepare erase --masks`` read; masks are named as their pictures are.
"""

from __future__ import annotations

import base64
import binascii
import csv
import io
from pathlib import Path
from typing import Any, Literal

from PIL import Image

from renma.core.errors import MissingError, UserError
from renma.core.store import write_bytes, write_text
from renma.data.own_file import check_target
from renma.data.pictures import measure
from renma.prepare.boxes import FORM, read
from renma.studio.place import Place

Kind = Literal["masks", "erase"]
Box = tuple[int, int, int, int]
"""Left, top, width, height in pixels."""
_HEAD = FORM.replace(" ", "")
_LEAST = 8
_MOST_PIXELS = 64_000_000
KINDS: tuple[Kind, ...] = ("masks", "erase")
"""White is trained; white is taken out."""


def beside(folder: Path, ending: str, place: Place) -> Path:
    """Returns a neighbour of a folder that may be written to.

    Raises:
        OutsideError: it would lie outside of the workspace.
    """
    target = folder.with_name(f"{folder.name}-{ending}")
    return place.inside(place.shown(target), write=True)


def marks(folder: Path, names: list[str], place: Place) -> dict[str, Any]:
    """Returns the frames of a folder's pictures, and which have masks and holes.

    Args:
        folder: of the pictures.
        names: of the pictures, from the folder on.
        place: the workspace.
    """
    frames = _frames(beside(folder, "frames.csv", place), names)
    found: dict[str, Any] = {
        "frames": {name: list(box) for name, box in frames.items() if name in names}
    }
    for kind in KINDS:
        where = beside(folder, kind, place)
        found[kind] = [name for name in names if _mask_file(where, name).is_file()]
    return {**found, **{f"{k}_folder": place.shown(beside(folder, k, place)) for k in KINDS}}


def _frames(file: Path, names: list[str]) -> dict[str, Box]:
    if not file.is_file() or file.read_text(encoding="utf-8-sig").strip() == _HEAD:
        return {}
    found = read(file, names)
    return {name: tuple(map(int, own[0].values)) for name, own in found.items()}  # pyright: ignore[reportReturnType]


def set_frame(
    folder: Path, name: str, names: list[str], box: Box | None, place: Place
) -> dict[str, Box]:
    """Keeps the frame of a picture, or forgets it; returns all frames.

    Args:
        folder: of the pictures.
        name: of the picture.
        names: of all pictures.
        box: what is to be cut out, or None.
        place: the workspace.

    Raises:
        UserError: there is no such picture, the frame does not lie in it, or the file of frames is
            somebody's.
    """
    file = beside(folder, "frames.csv", place)
    check_target(file, file.name, (".csv",), lambda head: head.startswith(_HEAD.encode()))
    frames = _frames(file, names)
    frames.pop(name, None)
    if box is not None:
        _need_within(box, measure(picture_of(folder, name, names), _MOST_PIXELS), name)
        frames[name] = box
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(_HEAD.split(","))
    rows.writerows([each, *frames[each]] for each in sorted(frames))
    write_text(file, text.getvalue())
    return frames


def _need_within(box: Box, size: tuple[int, int], name: str) -> None:
    left, top, width, height = box
    if left < 0 or top < 0 or width < _LEAST or height < _LEAST:
        raise UserError(f"is no frame of {_LEAST} pixels or more", where=repr(name[:80]))
    if left + width > size[0] or top + height > size[1]:
        raise UserError(
            f"the frame leaves the picture of {size[0]}x{size[1]} pixels", where=repr(name[:80])
        )


def picture_of(folder: Path, name: str, names: list[str]) -> Path:
    """Returns a picture of the folder.

    Raises:
        UserError: there is no such picture.
    """
    if name not in names:
        raise MissingError(f"there is no picture {name[:80]!r}", remedy="Load the page anew.")
    return folder / name


def _mask_file(where: Path, name: str) -> Path:
    return (where / name).with_suffix(".png")


def shown_mask(folder: Path, name: str, kind: Kind, place: Place) -> str | None:
    """Returns where the mask of a picture lies, as the web sees it, or None."""
    file = _mask_file(beside(folder, kind, place), name)
    return place.shown(file) if file.is_file() else None


def set_mask(
    folder: Path, name: str, names: list[str], kind: Kind, data: str | None, place: Place
) -> str | None:
    """Keeps a painted mask as a grey PNG of the picture's size, or removes it.

    Args:
        folder: of the pictures.
        name: of the picture.
        names: of all pictures.
        kind: masks (white is trained) or erase (white is taken out).
        data: the PNG in base64, or None.
        place: the workspace.

    Returns:
        Where it lies, as the web sees it, or None.

    Raises:
        UserError: there is no such picture, or the data is no PNG of its size.
    """
    picture = picture_of(folder, name, names)
    where = beside(folder, kind, place)
    file = place.inside(place.shown(_mask_file(where, name)), write=True)
    if data is None:
        file.unlink(missing_ok=True)
        return None
    mask = _decoded(data, measure(picture, _MOST_PIXELS))
    file.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(file, _png(mask))
    return place.shown(file)


def fill_masks(folder: Path, names: list[str], place: Place) -> int:
    """Gives every picture without a training mask a white one, which trains all of it."""
    where, made = beside(folder, "masks", place), 0
    for name in names:
        file = place.inside(place.shown(_mask_file(where, name)), write=True)
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(file, _png(Image.new("L", measure(folder / name, _MOST_PIXELS), 255)))
            made += 1
    return made


def _decoded(data: str, size: tuple[int, int]) -> Image.Image:
    try:
        with Image.open(io.BytesIO(base64.b64decode(data, validate=True)), formats=("PNG",)) as png:
            if png.size != size:  # asked before a pixel is decoded
                raise UserError(
                    f"the mask has {png.width}x{png.height} pixels, the picture {size[0]}x{size[1]}"
                )
            return png.convert("L").point([0] * 128 + [255] * 128)
    except (binascii.Error, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as no:
        raise UserError(f"is no PNG ({type(no).__name__})", where="the mask") from None


def _png(mask: Image.Image) -> bytes:
    buffer = io.BytesIO()
    mask.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
