"""Runs: what was trained, and what is being trained."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from renma.core import text_file
from renma.core.errors import MissingError, UserError
from renma.studio.api import jobs
from renma.studio.api._given import ThePlace, TheQueue
from renma.studio.jobs.queue import Queue
from renma.studio.place import Place
from renma.studio.runs import FIRST, READ, RunFacts, events_of, find, locked
from renma.studio.settings_file import parsed, plain
from renma.train import requests

ROUTER = APIRouter(prefix="/runs", tags=["runs"])
_PAUSE = 0.5
_HEART = 5.0
_MOST = 2000
"""Points of a curve that are sent; a longer one is thinned out."""


@ROUTER.get("")
def runs(place: ThePlace, queue: TheQueue) -> list[dict[str, Any]]:
    """Returns all runs of the workspace, newest first."""
    found = [(place.shown(p), RunFacts.of(p)) for p in find(place.root)]
    return [{"path": path, **_brief(each, queue)} for path, each in found]


@ROUTER.get("/facts")
def facts(path: str, place: ThePlace, queue: TheQueue) -> dict[str, Any]:
    """Returns a run: state, curves, previews, files, warnings, settings and verdict.

    ``first`` is the first stage of a copy-machine LoRA, ``waiting`` the job of a run that has not
    begun.
    """
    try:
        folder = run_folder(path, place)
    except MissingError:
        return _waiting(path, place, queue)
    found = RunFacts.of(folder)
    first = found.first()
    return {
        "path": path,
        **_brief(found, queue),
        "first": first and {"path": f"{path}/{FIRST}", **first.brief()},
        "waiting": None,
        "points": thinned(found.points),
        "validated": found.validated,
        "previews": found.previews,
        "saved": found.saved,
        "warnings": found.warnings,
        "plan": found.last.get("started", {}).get("plan"),
        "judged": score(folder),
        "offset": found.tail.offset,
        "report": (folder / "report.html").exists(),
    }


@ROUTER.get("/settings")
def settings(path: str, place: ThePlace) -> dict[str, Any]:
    """Returns the run.toml of a run, as text and as values."""
    file = run_folder(path, place) / "run.toml"
    text = text_file.read(file)
    return {"text": text, "values": plain(parsed(text))}


@ROUTER.get("/events")
async def events(
    request: Request, path: str, place: ThePlace, queue: TheQueue, offset: int = 0
) -> StreamingResponse:
    """Streams a run's events as they come (server-sent events); ``state`` tells how it stands."""
    folder = run_folder(path, place)
    return StreamingResponse(
        _stream(request, folder, queue, max(0, offset)), media_type="text/event-stream"
    )


async def _stream(request: Request, folder: Path, queue: Queue, offset: int) -> AsyncIterator[str]:
    found = await asyncio.to_thread(RunFacts.of, folder)
    found.tail.offset = min(offset, found.tail.offset)
    before, silent = "", 0.0
    while not await request.is_disconnected():
        rows = await asyncio.to_thread(found.read)
        for row in rows:
            yield f"data: {json.dumps(row, ensure_ascii=False)}\n\n"
        now = json.dumps(await asyncio.to_thread(_brief, found, queue))
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
    works = next((each for each in (folder, folder / FIRST) if locked(each)), None)
    if works is None:
        raise UserError("is not training", where=wish.path)
    requests.ask(works, wish.what)
    return {"asked": wish.what}


def run_folder(path: str, place: Place) -> Path:
    """Returns the folder of a run.

    Raises:
        UserError: it is none.
    """
    folder = place.inside(path)
    if not (folder / "run.toml").is_file() or events_of(folder) is None:
        raise MissingError("there is no run", where=path[:200])
    return place.own_files(folder, READ)


def _brief(found: RunFacts, queue: Queue) -> dict[str, Any]:
    """Returns what a list shows of a run.

    Between two stages nobody holds a lock; the job tells that the run goes on.
    """
    row = found.brief()
    if row["state"] == "stopped" and not found.newest:
        out = str(found.path)
        goes_on = any(j.options.get("out") == out and j.state() == "running" for j in queue.all())
        row["state"] = "training" if goes_on else "stopped"
    return row


def _waiting(path: str, place: Place, queue: Queue) -> dict[str, Any]:
    """Returns a run that a job will make.

    Raises:
        MissingError: none will.
    """
    all_jobs = queue.all()
    job = next((each for each in reversed(all_jobs) if each.links.get("run") == path), None)
    if job is None:
        raise MissingError("there is no run", where=path[:200])
    ahead = [each for each in all_jobs if each.order < job.order]
    return {
        "path": path,
        **RunFacts.of(place.inside(path)).brief(),
        "state": job.state(),
        "points": [], "validated": [], "previews": [], "saved": [], "warnings": [],
        "plan": None, "judged": None, "offset": 0, "report": False, "first": None,
        "waiting": {
            "job": jobs.brief(job),
            "before": sum(each.state() in ("queued", "running") for each in ahead),
        },
    }  # fmt: skip


def thinned(points: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns at most so many points, evenly, the last among them."""
    every = -(-len(points) // _MOST) or 1
    return points[::-1][::every][::-1]


def score(folder: Path) -> dict[str, Any] | None:
    """Returns what judging wrote into a run's folder, if it did."""
    try:
        held = json.loads((folder / "score.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return held if isinstance(held, dict) else None
