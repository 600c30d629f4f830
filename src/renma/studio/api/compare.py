"""Comparing: grids, judged checkpoints, blocks, regions and AND."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from renma.config import validate
from renma.config.grid_task import GridOptions
from renma.core.errors import UserError
from renma.core.store import write_bytes, write_text
from renma.drawing import regions
from renma.studio import comparing, forms
from renma.studio.api._given import ThePlace, TheQueue
from renma.studio.api.jobs import brief
from renma.studio.api.runs import run_folder
from renma.studio.drawing_wish import DrawWish, GridWish
from renma.studio.jobs.job import Job
from renma.studio.jobs.queue import Queue
from renma.studio.place import OutsideError, Place

ROUTER = APIRouter(prefix="/compare", tags=["compare"])
_TASKS = ("grid", "judge", "blocks", "sample", "report")


class BlocksWish(BaseModel):
    """An analysis of blocks."""

    model_config = ConfigDict(extra="forbid")

    path: str = Field(max_length=1000)
    prompt: str = Field("", max_length=5000)
    seeds: int = Field(4, ge=1, le=64)
    weight: float = Field(1.0, ge=-10, le=10)
    presets: bool = False


class JudgeWish(BaseModel):
    """A judging."""

    model_config = ConfigDict(extra="forbid")

    path: str = Field(max_length=1000)
    pictures: int | None = Field(None, ge=2, le=1000)


@ROUTER.get("/facts")
def facts(path: str, place: ThePlace) -> dict[str, Any]:
    """Returns what a run can be compared by: checkpoints, axes, grids, drawings, scores, blocks."""
    return {"path": path, **comparing.facts(run_folder(path, place), place)}


@ROUTER.get("/jobs")
def jobs(path: str, place: ThePlace, queue: TheQueue) -> list[dict[str, Any]]:
    """Returns what was asked for about a run, newest first, with its last lines."""
    place.inside(path)  # the run itself may still wait in the queue
    ours = [job for job in queue.all() if job.about == path and job.task in _TASKS]
    return [{**brief(job), "lines": _lines(job, place)} for job in reversed(ours[-20:])]


@ROUTER.post("/plan")
def plan(wish: GridWish, place: ThePlace) -> dict[str, Any]:
    """Returns what a grid would show: its axes, count of pictures and time, or the ``problem``."""
    try:
        return _plan(wish, place)
    except OutsideError:
        raise
    except UserError as error:
        return {"problem": error.line()}


def _plan(wish: GridWish, place: Place) -> dict[str, Any]:
    run, options = run_folder(wish.path, place), wish.options(place)
    checked = validate(GridOptions, options, "grid")
    try:
        found = comparing.grid_plan(checked, run)
    except UserError as error:
        where = str(error.where or "").replace(f"{place.root}/", "")
        raise UserError(error.what, where=where or None, remedy=error.remedy) from None
    return {
        **found,
        "command": forms.command_line("grid", _short(options, place.root)),
    }


@ROUTER.post("/grid")
def grid(wish: GridWish, place: ThePlace, queue: TheQueue) -> dict[str, Any]:
    """Draws a grid into the run's folder ``grids``, as a job."""
    _plan(wish, place)
    (place.inside(wish.path, write=True) / comparing.GRIDS).mkdir(exist_ok=True)
    return _add(queue, "grid", wish.options(place), f"grid {wish.name}", wish.path)


@ROUTER.post("/judge")
def judge(wish: JudgeWish, place: ThePlace, queue: TheQueue) -> dict[str, Any]:
    """Measures every checkpoint of a run and names the best, as a job."""
    options: dict[str, Any] = {"folder": str(run_folder(wish.path, place))}
    if wish.pictures is not None:
        options["pictures"] = wish.pictures
    return _add(queue, "judge", options, f"judge {wish.path}", wish.path)


@ROUTER.post("/blocks")
def blocks(wish: BlocksWish, place: ThePlace, queue: TheQueue) -> dict[str, Any]:
    """Shows what each block of a run's LoRA does, as a job."""
    run = run_folder(wish.path, place)
    given = wish.model_dump(include={"prompt", "seeds", "weight", "presets"}, exclude_defaults=True)
    options = {"lora": str(run), **given, "out": str(run / "blocks.html")}
    return _add(queue, "blocks", options, f"blocks {wish.path}", wish.path)


@ROUTER.post("/draw")
def draw(wish: DrawWish, place: ThePlace, queue: TheQueue) -> dict[str, Any]:
    """Draws pictures by painted regions, or of prompts joined with AND, as a job."""
    run_folder(wish.path, place)
    options, folder = wish.options(place), wish.folder(place)
    if (folder / comparing.ASKED).exists():
        raise UserError("is there already", where=wish.name, remedy="Choose another name.")
    painted = wish.painted() if wish.picture else b""
    folder.mkdir(parents=True, exist_ok=True)
    if painted:
        _paint(folder / "regions.png", painted, wish)
    asked = wish.model_dump(exclude={"picture", "path"}, exclude_defaults=True)
    write_text(folder / comparing.ASKED, json.dumps(asked, ensure_ascii=False))
    return _add(queue, "sample", options, f"sample {wish.name}", wish.path)


def _paint(path: Path, data: bytes, wish: DrawWish) -> None:
    """Writes the regions' picture; whether it shows every region is known before a job waits."""
    write_bytes(path, data)
    areas = [regions.parse(f"{p.colour}:{p.strength:g}={p.prompt}") for p in wish.parts]
    try:
        regions.read(path, areas, wish.feather, (wish.width or 512, wish.height or 512))
    except UserError as error:
        path.unlink()
        raise UserError(error.what, remedy=error.remedy) from None


def _add(
    queue: Queue, task: str, options: dict[str, Any], title: str, about: str
) -> dict[str, Any]:
    checked = validate(forms.options_of(task).options, options, task)
    written = checked.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return brief(queue.add(task, written, title, about))


def _lines(job: Job, place: Place) -> list[str]:
    """Returns what a job printed last, with paths as seen from the workspace."""
    return [line.replace(f"{place.root}/", "") for line in job.last_lines(40)]


def _short(options: dict[str, Any], root: Path) -> dict[str, Any]:
    """Returns options with paths as seen from the workspace."""

    def short(value: Any) -> Any:
        if isinstance(value, list):
            return [short(each) for each in value]
        return value.replace(f"{root}/", "") if isinstance(value, str) else value

    return {name: short(value) for name, value in options.items() if name != "lora_dir"}
