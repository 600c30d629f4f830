"""Jobs: what waits, works and is over."""

from __future__ import annotations

import time
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from renma.config import validate
from renma.studio.api._given import ThePlace, TheQueue
from renma.studio.forms import command_line, options_of
from renma.studio.jobs.job import Job
from renma.studio.placed import placed
from renma.studio.runs import Tail

ROUTER = APIRouter(prefix="/jobs", tags=["jobs"])
_SHOWN = 400


class NewJob(BaseModel):
    """A task to do."""

    model_config = ConfigDict(extra="forbid")

    task: str = Field(max_length=80)
    options: dict[str, Any] = Field(default_factory=dict)
    title: str = Field("", max_length=200)


class Move(BaseModel):
    """Where a waiting job goes."""

    model_config = ConfigDict(extra="forbid")

    before: str | None = Field(None, max_length=20)


@ROUTER.get("")
def jobs(queue: TheQueue) -> list[dict[str, Any]]:
    """Returns all jobs, in order."""
    return [brief(job) for job in queue.all()]


@ROUTER.post("")
def add(new: NewJob, place: ThePlace, queue: TheQueue) -> dict[str, Any]:
    """Puts a task into the queue; its options are those of the command, paths as the studio has."""
    task = options_of(new.task)
    options = placed(task, new.options, place)
    checked = validate(task.options, options, task.name)
    title = new.title or " ".join([task.name, _about(new.options)]).strip()
    written = checked.model_dump(mode="json", by_alias=True, exclude_unset=True)
    about = _about(new.options)
    return brief(queue.add(task.name, written, title, about))


@ROUTER.get("/{name}")
def job(name: str, queue: TheQueue) -> dict[str, Any]:
    """Returns a job with its last events and lines."""
    found = queue.get(name)
    rows = Tail(found.events).rows()
    kept = [row for row in rows if row.get("kind") != "step"][-_SHOWN:]
    line = command_line(found.task, found.options)
    return {**brief(found), "events": kept, "lines": found.last_lines(), "command": line}


@ROUTER.get("/{name}/log")
def log(name: str, queue: TheQueue) -> dict[str, list[str]]:
    """Returns the end of what a job printed."""
    return {"lines": queue.get(name).last_lines(_SHOWN)}


@ROUTER.post("/{name}/stop")
def stop(name: str, queue: TheQueue) -> dict[str, Any]:
    """Asks a job for its end; one that trains finishes its step and saves."""
    return brief(queue.stop(name))


@ROUTER.post("/{name}/again")
def again(name: str, queue: TheQueue) -> dict[str, Any]:
    """Puts a job that is over into the queue again; one that trained goes on."""
    return brief(queue.again(name))


@ROUTER.post("/{name}/move")
def move(name: str, where: Move, queue: TheQueue) -> dict[str, Any]:
    """Puts a waiting job before another, or at the end."""
    return brief(queue.move(name, where.before))


@ROUTER.post("/{name}/remove")
def remove(name: str, queue: TheQueue) -> dict[str, str]:
    """Forgets a job that is over; what it made stays."""
    queue.remove(name)
    return {"removed": name}


def brief(job: Job) -> dict[str, Any]:
    """Returns what a list shows of a job."""
    started, ended = job.started() or {}, job.ended() or {}
    state = job.state()
    begun = started.get("time")
    until = ended.get("time") or (time.time() if state == "running" else None)
    return {
        "id": job.id,
        "task": job.task,
        "title": job.title,
        "about": job.about,
        "links": job.links,
        "state": state,
        "code": ended.get("code"),
        "begun": begun,
        "seconds": round(until - begun, 1) if begun and until else None,
        "last": job.last_lines(3) if state in ("failed", "died") else [],
    }


def _about(options: dict[str, Any]) -> str:
    """Returns the folder or file that a task works on, as the page named it."""
    for name in ("out", "run", "folder", "file", "source"):
        if isinstance(value := options.get(name), str):
            return value
    return ""
