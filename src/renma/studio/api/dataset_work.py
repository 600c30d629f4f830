"""Captions by tagger, by threshold and by the Maruzen table; what lint finds."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import Field

from renma.caption import maruzen
from renma.config import validate
from renma.config.caption._written import Existing
from renma.config.caption.maruzen import MaruzenOptions
from renma.config.caption.tag import TagOptions
from renma.config.prepare.lint import LintOptions
from renma.core.errors import UserError
from renma.studio.api._given import ThePlace, TheQueue
from renma.studio.api.datasets import OfFolder, Word, Words
from renma.studio.api.jobs import brief
from renma.studio.pictures import folder, guesses, linted
from renma.studio.pictures.told import Told
from renma.studio.place import Place

ROUTER = APIRouter(prefix="/datasets", tags=["datasets"])
Share = Annotated[float, Field(ge=0.01, le=1)]


class Tagging(OfFolder):
    """How pictures are tagged; with `look` no caption is written, but all scores are kept."""

    model: str = Field("", max_length=1000)
    look: bool = False
    threshold: Share = 0.35
    character_threshold: Share = 0.85
    on_existing: Existing = "skip"
    undesired: Words = Field(default_factory=list)
    always_first: Words = Field(default_factory=list)
    sort: Literal["score", "alphabet", "frequency", "model"] = "score"


class Absorbing(OfFolder):
    """What the trigger word is to absorb."""

    trigger: Word = ""
    kind: Literal["character", "style", "object"] = "character"
    clothes: Literal["keep", "remove"] = "keep"
    share: float = Field(0.8, gt=0.5, le=1)
    keep: list[Word] = Field(default_factory=list, max_length=5000)
    remove: list[Word] = Field(default_factory=list, max_length=5000)
    write: bool = False


class Linting(OfFolder):
    """What the pictures will be trained at."""

    resolution: int = Field(512, ge=64, le=8192)


def _model(place: Place, given: str) -> Any:
    return place.inside(given) if given.strip() else None


@ROUTER.post("/tag")
def tag(asked: Tagging, place: ThePlace, queue: TheQueue) -> dict[str, Any]:
    """Puts the tagging of a folder into the queue; with `look` it only keeps the scores."""
    where = folder.opened(place, asked.path, write=True)
    model = _model(place, asked.model)
    given = asked.model_dump(
        include={
            *("threshold", "character_threshold", "on_existing", "undesired", "always_first"),
            *("sort", "extension", "separator"),
        }
    )
    given |= {"folder": str(where), "dry_run": asked.look, "model": [str(model)] if model else []}
    if asked.look:
        given["on_existing"] = "replace"  # every picture is looked at
    options = validate(TagOptions, given, "caption tag")
    written = options.model_dump(mode="json", by_alias=True, exclude_unset=True)
    path = place.shown(where)
    title = f"{'look at' if asked.look else 'tag'} {path}"
    return brief(queue.add("caption tag", written, title, path, {"data": path}))


@ROUTER.get("/scores")
def scores(place: ThePlace, path: str, model: str = "") -> dict[str, Any]:
    """Returns how many pictures reach each threshold, for every tag that a tagger gave."""
    return guesses.table(folder.opened(place, path), _model(place, model))


@ROUTER.get("/scores/one")
def scores_of_one(place: ThePlace, path: str, name: str, model: str = "") -> list[dict[str, Any]]:
    """Returns the surest tags of one picture."""
    return guesses.of_one(folder.opened(place, path), name, _model(place, model))


@ROUTER.post("/maruzen")
def absorb(asked: Absorbing, place: ThePlace) -> dict[str, Any]:
    """Returns which tags the trigger should absorb; with `write` they are taken out.

    Where there is nothing to propose, `wrong` says why.
    """
    where = folder.opened(place, asked.path, write=asked.write)
    given = asked.model_dump(exclude={"path", "write"})
    given |= {"folder": where, "apply": asked.write, "json": True}
    told = _Proposal()
    try:
        maruzen.run(validate(MaruzenOptions, given, "caption maruzen"), told)
    except UserError as error:
        if asked.write:
            raise
        return {"sets": [], "warnings": told.warnings, "wrong": error.line()}
    return {"sets": told.sets, "warnings": told.warnings, **folder.past(where)}


class _Proposal(Told):
    """Keeps the proposal itself, which is said as JSON."""

    @property
    def sets(self) -> list[dict[str, Any]]:
        return json.loads(self.lines[0]) if self.lines else []


@ROUTER.post("/lint")
def lint(asked: Linting, place: ThePlace, queue: TheQueue) -> dict[str, Any]:
    """Puts the search for what is wrong with the pictures into the queue."""
    where = folder.opened(place, asked.path)
    given = {"folder": str(where), "json": True, "resolution": asked.resolution}
    given["caption_extension"] = asked.extension
    options = validate(LintOptions, given, "prepare lint")
    written = options.model_dump(mode="json", by_alias=True, exclude_unset=True)
    path = place.shown(where)
    return brief(queue.add("prepare lint", written, f"lint {path}", path, {"data": path}))


@ROUTER.get("/lint")
def findings(place: ThePlace, queue: TheQueue, path: str) -> dict[str, Any]:
    """Returns what the last search of this folder found, or that there was none."""
    return linted.last(queue, place.shown(folder.opened(place, path)))
