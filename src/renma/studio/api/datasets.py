"""Data sets: folders of pictures, their captions, and edits of many at once."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from renma.core.expression import EndlessError
from renma.studio.api._given import ThePlace
from renma.studio.pictures import edits, folder

ROUTER = APIRouter(prefix="/datasets", tags=["datasets"])
Word = Annotated[str, Field(max_length=1000)]
Words = Annotated[list[Word], Field(max_length=200)]
Path = Annotated[str, Field(max_length=1000)]
Name = Annotated[str, Field(min_length=1, max_length=1000)]
# only what captions are called: with any other, what is written could be a program or a picture
Ending = Annotated[str, Field(pattern=r"^\.?(txt|text|captions?|cap|tags?|prompt)$")]
Separator = Annotated[str, Field(min_length=1, max_length=8)]


class OfFolder(BaseModel):
    """A folder of pictures and how its captions are written."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    path: Path
    extension: Ending = ".txt"
    separator: Separator = ","


class Change(BaseModel):
    """What is done to captions; the names are those of ``renma caption edit``."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    keep: int = Field(0, ge=0, le=1000)
    search: Words = Field(default_factory=list)
    with_: Words = Field(default_factory=list, alias="with")
    underscores: Literal["to-spaces", "to-underscores"] | None = None
    parentheses: Literal["escape", "unescape"] | None = None
    remove: Words = Field(default_factory=list)
    replace: Words = Field(default_factory=list)
    dedupe: bool = False
    sort: Literal["alphabet", "frequency", "length"] | None = None
    reverse: bool = False
    add: Words = Field(default_factory=list)
    at: Literal["first", "last"] | Annotated[int, Field(ge=1, le=1000)] = "last"
    prepend: Words = Field(default_factory=list)
    append: Words = Field(default_factory=list)
    truncate_tokens: int | None = Field(None, ge=1, le=10_000)


class BatchEdit(OfFolder):
    """An edit of many captions."""

    names: list[Name] | None = Field(None, max_length=folder.MOST)
    where: str = Field("", max_length=4000)
    change: Change
    write: bool = False


class Condition(OfFolder):
    """A condition on tags."""

    where: str = Field("", max_length=4000)


class OneCaption(OfFolder):
    """The caption of one picture, as it was read and as it is to be."""

    name: Name
    was: str | None = Field(None, max_length=200_000)
    text: str | None = Field(None, max_length=200_000)


class Turn(OfFolder):
    """An edit to be taken back, or done again."""

    force: bool = False


@ROUTER.get("/folders")
def folders(place: ThePlace, path: str = "") -> list[dict[str, Any]]:
    """Returns the folders of pictures below a folder, without those that runs draw into."""
    return folder.found_in(place, path)


@ROUTER.get("/list")
def pictures(
    place: ThePlace, path: str, extension: Ending = ".txt", separator: Separator = ","
) -> Response:
    """Returns a folder of pictures as columns: names, bytes, captions as indices of tags."""
    found = folder.table(folder.opened(place, path), place, extension, separator)
    # as it is: to look at every number of 10,000 rows once more would take half a second
    return Response(json.dumps(found, separators=(",", ":")), media_type="application/json")


@ROUTER.post("/filter")
def fitting(asked: Condition, place: ThePlace) -> dict[str, Any]:
    """Returns the names of the pictures whose tags meet a condition such as `a and not (b or c)`.

    A condition is half written most of the time: what is wrong with it is an answer (`wrong`).
    """
    where = folder.opened(place, asked.path)
    wrong = edits.mistake_in(asked.where)
    if wrong:
        return {"names": [], "warnings": [], "wrong": wrong}
    try:
        found = edits.fitting(where, asked.where, asked.extension, asked.separator)
    except EndlessError as error:
        return {"names": [], "warnings": [], "wrong": error.line()}
    return {**found, "wrong": ""}


@ROUTER.post("/edit")
def edit(asked: BatchEdit, place: ThePlace) -> dict[str, Any]:
    """Edits the captions of the named pictures, or of all; shows what changes unless `write`.

    While nothing is written, what is wrong with the edit is an answer, too (`wrong`).
    """
    where = folder.opened(place, asked.path, write=asked.write)
    change = asked.change.model_dump(by_alias=True, exclude_unset=True)
    given = {
        "extension": asked.extension,
        "separator": asked.separator,
        "where": asked.where,
        **change,
    }
    try:
        found = edits.changed(where, asked.names, given, write=asked.write)
    except edits.HalfWrittenError as error:
        if asked.write:
            raise
        found = {"count": 0, "first": [], "warnings": [], "wrong": error.line()}
    return {**found, **folder.past(where)}


@ROUTER.get("/caption")
def caption(place: ThePlace, path: str, name: str, extension: Ending = ".txt") -> dict[str, Any]:
    """Returns the caption of a picture as it is written."""
    return edits.caption_of(folder.opened(place, path), name, extension)


@ROUTER.post("/caption")
def write_caption(asked: OneCaption, place: ThePlace) -> dict[str, Any]:
    """Writes the caption of a picture, unless somebody else wrote it meanwhile."""
    where = folder.opened(place, asked.path, write=True)
    found = edits.write_caption(where, asked.name, asked.extension, asked.was, asked.text)
    return {**found, **folder.past(where)}


@ROUTER.post("/undo")
def undo(asked: Turn, place: ThePlace) -> dict[str, Any]:
    """Takes the last edit of the folder's captions back, byte for byte."""
    where = folder.opened(place, asked.path, write=True)
    found = edits.turned(where, asked.extension, back=True, force=asked.force)
    return {**found, **folder.past(where)}


@ROUTER.post("/redo")
def redo(asked: Turn, place: ThePlace) -> dict[str, Any]:
    """Does again what was undone last."""
    where = folder.opened(place, asked.path, write=True)
    found = edits.turned(where, asked.extension, back=False, force=asked.force)
    return {**found, **folder.past(where)}
