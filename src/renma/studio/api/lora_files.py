"""LoRA files: what they hold, metadata, what can be made of them."""

from __future__ import annotations

import hashlib
import struct
from functools import lru_cache
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from renma.core.errors import MissingError, UserError
from renma.studio.api._given import ThePlace, TheQueue
from renma.studio.api.jobs import brief
from renma.studio.jobs.job import Job
from renma.studio.lora import change, cover, header, shelf, strength, texts, tools
from renma.studio.lora.facts import facts as facts_of
from renma.studio.lora.facts import run_of
from renma.studio.place import Place
from renma.studio.runs import Tail

ROUTER = APIRouter(prefix="/lora-files", tags=["lora-files"])
_SHOWN = 30
_CHUNK = 2**20


class File(BaseModel):
    """A file."""

    model_config = ConfigDict(extra="forbid")

    file: str = Field(max_length=1000)


@ROUTER.get("")
def files(place: ThePlace, search: str = "", others: bool = False) -> dict[str, Any]:
    """Returns the LoRA files of the workspace and of the folders of models, newest first.

    ``search`` is part of a name or of any metadata; ``others`` lists safetensors files that are no
    LoRA too.
    """
    return shelf.listed(place, search[:200], others=others)


@ROUTER.get("/facts")
def facts(file: str, place: ThePlace) -> dict[str, Any]:
    """Returns what a file is: algorithm, ranks, blocks, base model, training, cover, trouble."""
    path = _path(file, place)
    found = header.read(path, file)
    run, step = run_of(place, path)
    state = path.stat()
    return {
        "file": file,
        "name": path.name,
        "bytes": state.st_size,
        "changed": state.st_mtime,
        "version": change.version(path),
        "writable": not file.startswith("@"),
        "run": run,
        "step": step,
        "cover": cover.told(path, found.metadata, place),
        "undo": None if file.startswith("@") else change.last(file, place),
        **facts_of(found),
    }


@ROUTER.get("/hashes")
def hashes(file: str, place: ThePlace) -> dict[str, Any]:
    """Returns SHA-256 of the whole file and of its weights; web UIs show their first digits.

    ``whole`` begins with AutoV2 (10 digits), ``weights`` with AutoV3 (12 digits), by which A1111
    calls a LoRA. ``told`` says whether the metadata holds the same hash of the weights, if any.
    """
    path = _path(file, place)
    metadata = header.read(path, file, alphas=False).metadata
    state = path.stat()
    whole, weights = _hashed(path, state.st_size, state.st_mtime_ns)
    said = metadata.get("sshs_model_hash", "")
    told = said.lower() == weights if said else None
    return {"whole": whole, "weights": weights, "told": told}


@ROUTER.get("/cover")
def picture(file: str, place: ThePlace) -> Response:
    """Returns the picture that a file carries in its metadata, as a small WebP."""
    data = cover.own(_metadata(file, place), file)
    return Response(data, media_type="image/webp")


@ROUTER.get("/tags")
def tags(file: str, place: ThePlace) -> dict[str, Any]:
    """Returns the tags of the captions that a file was trained with, commonest first."""
    return texts.tags(_metadata(file, place))


@ROUTER.get("/metadata")
def metadata(file: str, place: ThePlace, search: str = "") -> dict[str, Any]:
    """Returns metadata entries that hold a text, long values cut."""
    return texts.entries(_metadata(file, place), search[:200])


@ROUTER.get("/entry")
def entry(file: str, key: str, place: ThePlace) -> dict[str, Any]:
    """Returns one metadata entry as a whole, up to half a million characters."""
    found = _metadata(file, place)
    if key not in found:
        raise MissingError("there is no such metadata", where=file[:200])
    return texts.whole(key, found[key])


@ROUTER.post("/preview")
def preview(wish: change.Wish, place: ThePlace) -> dict[str, Any]:
    """Returns what a change of metadata would add, change and remove; nothing is written."""
    path = _path(wish.file, place)
    header.read(path, wish.file, alphas=False)
    change.target(wish, place)
    return change.preview(path, wish)


@ROUTER.post("/edit")
def edit(wish: change.Wish, place: ThePlace) -> dict[str, Any]:
    """Writes other metadata, into the file or into a copy; the weights stay as they are."""
    path = _path(wish.file, place)
    header.read(path, wish.file, alphas=False)
    return change.write(path, wish, place)


@ROUTER.post("/undo")
def undo(wish: File, place: ThePlace) -> dict[str, Any]:
    """Gives a file the metadata back that it had before its last change here."""
    _path(wish.file, place)
    return change.undo(wish.file, place)


@ROUTER.get("/strength")
def strengths(file: str, place: ThePlace, queue: TheQueue) -> dict[str, Any]:
    """Returns how strong each block is, once it was measured, and numbers that are none."""
    path = _path(file, place)
    if not path.is_file():
        raise MissingError("there is no such file", where=file[:200])
    return strength.measured(path, queue)


@ROUTER.post("/measure")
def measure(wish: File, place: ThePlace, queue: TheQueue) -> dict[str, Any]:
    """Measures how strong each block is, as a job."""
    path = _path(wish.file, place)
    header.read(path, wish.file, alphas=False)
    options = {"file": str(path), "json": True}
    return brief(queue.add(strength.TASK, options, f"{strength.TASK} {wish.file}", wish.file))


@ROUTER.post("/plan")
def plan(work: tools.Work, place: ThePlace) -> dict[str, Any]:
    """Returns the command that does the same as a tool, or the ``problem`` in its way."""
    try:
        return {"command": tools.line(work, tools.options(work, place), place)}
    except UserError as error:
        return {"problem": _without(error.line(), place)}


@ROUTER.post("/work")
def work(work: tools.Work, place: ThePlace, queue: TheQueue) -> dict[str, Any]:
    """Merges, resizes, converts, extracts, cuts or verifies, as a job."""
    made, about = tools.options(work, place), tools.about(work)
    return brief(queue.add(work.task, made, f"{work.task} {about}", about))


@ROUTER.get("/jobs")
def jobs(place: ThePlace, queue: TheQueue) -> list[dict[str, Any]]:
    """Returns the jobs of the tools, newest first, with their progress and what they said."""
    ours = [j for j in queue.all() if j.task.startswith("file ") and j.task != strength.TASK]
    return [_job(job, place) for job in reversed(ours[-_SHOWN:])]


def _job(job: Job, place: Place) -> dict[str, Any]:
    done = job.state() == "done" and "out" in job.options
    rows = [row for row in Tail(job.events).rows() if row.get("kind") == "working"]
    lines = [_without(text, place) for text in job.last_lines(60)]
    made = job.about if done and Path(job.options["out"]).is_file() else None
    return {**brief(job), "lines": lines, "working": rows[-1] if rows else None, "made": made}


def _path(file: str, place: Place) -> Path:
    path = place.inside(file)
    if not file or path == place.root:
        raise MissingError("there is no such file", where=file[:200])
    return path


def _metadata(file: str, place: Place) -> dict[str, str]:
    return header.read(_path(file, place), file, alphas=False).metadata


def _without(text: str, place: Place) -> str:
    """Returns text with paths as seen from the workspace."""
    return text.replace(f"{place.root}/", "")


@lru_cache(maxsize=256)
def _hashed(path: Path, _size: int, _changed: int) -> tuple[str, str]:
    """Returns SHA-256 of a file and of what comes after its header, in one reading."""
    whole, weights = hashlib.sha256(), hashlib.sha256()
    with path.open("rb") as file:
        start = file.read(8)
        head = file.read(struct.unpack("<Q", start)[0])
        whole.update(start + head)
        while data := file.read(_CHUNK):
            whole.update(data)
            weights.update(data)
    return whole.hexdigest(), weights.hexdigest()
