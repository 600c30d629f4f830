"""Runs: what was trained, and what is being trained."""

from __future__ import annotations

import asyncio
import json
import tomllib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from renma.core.errors import UserError
from renma.studio.api._given import ThePlace
from renma.studio.place import Place
from renma.studio.runs import RunFacts, find, locked
from renma.train import requests

ROUTER = APIRouter(prefix="/runs", tags=["runs"])
_PAUSE = 0.5
_HEART = 5.0
_MOST = 2000
"""Points of a curve that are sent; a longer one is thinned out."""


@ROUTER.get("")
def runs(place: ThePlace) -> list[dict[str, Any]]:
    """Returns all runs of the workspace, newest first."""
    return [{"path": place.shown(p), **RunFacts.of(p).brief()} for p in find(place.root)]


@ROUTER.get("/facts")
def facts(path: str, place: ThePlace) -> dict[str, Any]:
    """Returns a run: state, curves, previews, files, warnings, settings and verdict."""
    folder = run_folder(path, place)
    found = RunFacts.of(folder)
    return {
        "path": path,
        **found.brief(),
        "points": thinned(found.points),
        "validated": found.validated,
        "previews": found.previews,
        "saved": found.saved,
        "warnings": found.warnings,
        "plan": found.last.get("started", {}).get("plan"),
        "judged": _score(folder),
        "offset": found.tail.offset,
        "report": (folder / "report.html").exists(),
    }


@ROUTER.get("/settings")
def settings(path: str, place: ThePlace) -> dict[str, Any]:
    """Returns the run.toml of a run, as text and as values."""
    file = run_folder(path, place) / "run.toml"
    text = file.read_text(encoding="utf-8-sig")
    return {"text": text, "values": tomllib.loads(text)}


@ROUTER.get("/events")
async def events(
    request: Request, path: str, place: ThePlace, offset: int = 0
) -> StreamingResponse:
    """Streams a run's events as they come (server-sent events); ``state`` tells how it stands."""
    folder = run_folder(path, place)
    return StreamingResponse(
        _stream(request, folder, max(0, offset)), media_type="text/event-stream"
    )


async def _stream(request: Request, folder: Path, offset: int) -> AsyncIterator[str]:
    found = await asyncio.to_thread(RunFacts.of, folder)
    found.tail.offset = min(offset, found.tail.offset)
    before, silent = "", 0.0
    while not await request.is_disconnected():
        rows = await asyncio.to_thread(found.read)
        for row in rows:
            yield f"data: {json.dumps(row, ensure_ascii=False)}\n\n"
        now = json.dumps(await asyncio.to_thread(found.brief))
        if now != before or silent >= _HEART:
            yield f"event: state\ndata: {now}\n\n"
            before, silent = now, 0.0
        await asyncio.sleep(_PAUSE)
        silent += _PAUSE


class Wish(BaseModel):
    """What a run that trains is asked for."""

    model_config = ConfigDict(extra="forbid")

    path: str = Field(max_length=1000)
    what: Literal["stop", "save", "sample"]


@ROUTER.post("/ask")
def ask(wish: Wish, place: ThePlace) -> dict[str, str]:
    """Asks a run to stop and save, to save, or to draw its previews, after the step it is at."""
    folder = run_folder(wish.path, place)
    if not locked(folder):
        raise UserError("is not training", where=wish.path)
    requests.ask(folder, wish.what)
    return {"asked": wish.what}


def run_folder(path: str, place: Place) -> Path:
    """Returns the folder of a run.

    Raises:
        UserError: it is none.
    """
    folder = place.inside(path)
    if not (folder / "run.toml").is_file() or not (folder / "events.jsonl").is_file():
        raise UserError("there is no run", where=path[:200])
    return folder


def thinned(points: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns at most so many points, evenly, the last among them."""
    every = -(-len(points) // _MOST) or 1
    return points[::-1][::every][::-1]


def _score(folder: Path) -> dict[str, Any] | None:
    try:
        return json.loads((folder / "score.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
