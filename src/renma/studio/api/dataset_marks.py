"""What is drawn on pictures by hand: frames to cut out, masks to train with, holes to erase."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field

from renma.caption.folder import read_folder
from renma.data.pictures import measure
from renma.studio.api._given import ThePlace
from renma.studio.api.datasets import Name, OfFolder
from renma.studio.pictures import folder, marks

ROUTER = APIRouter(prefix="/datasets/marks", tags=["datasets"])
Pixels = Annotated[int, Field(ge=0, le=100_000)]


class Frame(OfFolder):
    """What is to be cut out of a picture, in pixels; None forgets it."""

    name: Name
    box: tuple[Pixels, Pixels, Pixels, Pixels] | None


class Mask(OfFolder):
    """A painted mask: a PNG in base64, white where it counts; None removes it."""

    name: Name
    kind: marks.Kind
    data: str | None = Field(max_length=3_500_000)


def _names(where: Any) -> list[str]:
    return [each.picture.relative_to(where).as_posix() for each in read_folder(where)]


@ROUTER.get("")
def all_marks(place: ThePlace, path: str) -> dict[str, Any]:
    """Returns the frames of a folder's pictures, and which have masks and holes."""
    where = folder.opened(place, path)
    return marks.marks(where, _names(where), place)


@ROUTER.get("/picture")
def picture(place: ThePlace, path: str, name: str) -> dict[str, Any]:
    """Returns how large a picture is, upright, its frame, and where its masks lie."""
    where = folder.opened(place, path)
    names = _names(where)
    found = marks.marks(where, names, place)
    width, height = measure(marks.picture_of(where, name, names))
    masks = {kind: marks.shown_mask(where, name, kind, place) for kind in marks.KINDS}
    return {"width": width, "height": height, "frame": found["frames"].get(name), **masks}


@ROUTER.post("/frame")
def frame(asked: Frame, place: ThePlace) -> dict[str, Any]:
    """Keeps what is to be cut out of a picture, for `renma prepare crop --boxes`."""
    where = folder.opened(place, asked.path, write=True)
    found = marks.set_frame(where, asked.name, _names(where), asked.box, place)
    return {"frames": len(found), "file": place.shown(marks.beside(where, "frames.csv", place))}


@ROUTER.post("/mask")
def mask(asked: Mask, place: ThePlace) -> dict[str, Any]:
    """Keeps a painted mask beside the folder; the picture itself is not touched."""
    where = folder.opened(place, asked.path, write=True)
    names = _names(where)
    kept = marks.set_mask(where, asked.name, names, asked.kind, asked.data, place)
    return {"mask": kept}


@ROUTER.post("/fill")
def fill(asked: OfFolder, place: ThePlace) -> dict[str, Any]:
    """Gives every picture without a training mask a white one, as masked training needs it."""
    where = folder.opened(place, asked.path, write=True)
    return {"made": marks.fill_masks(where, _names(where), place)}
