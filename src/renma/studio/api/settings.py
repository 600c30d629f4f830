"""The settings of a run: every option with its help, and the plan of what is filled in."""

from __future__ import annotations

import shlex
import tomllib
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from renma import assets
from renma.config import presets
from renma.core import text_file
from renma.core.errors import MissingError, UserError
from renma.core.store import write_text
from renma.studio import settings_import, settings_schema
from renma.studio.api._given import ThePlace, TheQueue
from renma.studio.api.jobs import brief
from renma.studio.api.projects import projects as all_projects
from renma.studio.api.runs import run_folder
from renma.studio.place import Place
from renma.studio.settings_clone import asked_file, cloned, project_of
from renma.studio.settings_file import as_toml, merged, parsed, plain
from renma.studio.settings_paths import moved_to, outside, to_disk, to_web
from renma.studio.settings_plan import Checked, checked

ROUTER = APIRouter(prefix="/settings", tags=["settings"])
_LONGEST = 1_000_000


class Settings(BaseModel):
    """A run as a page fills it in."""

    model_config = ConfigDict(extra="forbid")

    project: str = Field(max_length=1000)
    values: dict[str, Any] | None = None
    """By section; empty: what the text says."""
    text: str = Field("", max_length=_LONGEST)
    """run.toml as it stands, into which the values are laid; its comments stay."""


class Pasted(BaseModel):
    """Settings of sd-scripts."""

    model_config = ConfigDict(extra="forbid")

    project: str = Field(max_length=1000)
    text: str = Field(min_length=1, max_length=_LONGEST)


@ROUTER.get("/options")
def options() -> dict[str, Any]:
    """Returns every option of run.toml by section, with kind, help, limits and default."""
    return {"sections": settings_schema.manual(), "presets": _presets()}


@ROUTER.get("/start")
def start(place: ThePlace, project: str = "", clone: str = "") -> dict[str, Any]:
    """Returns what a page begins with: the project's own settings, or those of a run."""
    found = [{"path": row["path"], "name": row["name"]} for row in all_projects(place)]
    if clone:
        run = run_folder(clone, place)
        project, text = place.shown(project_of(run, place)), cloned(run, place)
    else:
        project = project or (found[0]["path"] if found else "")
        text = _text_of(project, place) if project else ""
    return {"projects": found, "project": project, "clone": clone, **_both(text)}


@ROUTER.post("/check")
def check(given: Settings, place: ThePlace) -> dict[str, Any]:
    """Returns the plan: pictures, buckets, steps, time, memory, rates, and what is wrong where."""
    folder = _project(given.project, place)
    try:
        text = given.text if given.values is None else merged(given.text, given.values)
        both = _both(text)
    except UserError as error:
        found = Checked()
        found.tell("error", "", error.line())
        return {"text": given.text, "values": given.values, **vars(found), "command": ""}
    found = _checked(both["values"], folder, place)
    return {**both, **vars(found), "command": _command(given.project)}


@ROUTER.post("/import")
def read_kohya(pasted: Pasted, place: ThePlace) -> dict[str, Any]:
    """Returns what a command, config file or preset of sd-scripts becomes; nothing is written."""
    return settings_import.imported(pasted.text, _project(pasted.project, place), place)


@ROUTER.post("/train")
def train(given: Settings, place: ThePlace, queue: TheQueue) -> dict[str, Any]:
    """Writes run.toml into the project, keeps the one before, and puts the run into the queue.

    The job trains what was asked for now, whatever is written into run.toml until it begins.
    """
    told = check(given, place)
    if wrong := next((m["text"] for m in told["messages"] if m["level"] == "error"), ""):
        raise UserError(wrong)
    folder = place.inside(given.project, write=True)
    document = parsed(told["text"])
    to_disk(document, place)
    _keep(folder / "run.toml", document.as_string())
    moved_to(document, "runs")
    erase = told["values"].get("erase", {})
    task = "erase" if erase.get("prompts") or erase.get("prompts_file") else "train"
    with queue.turn:  # two clicks at once are two runs
        out = _next_run(folder, queue)
        out.parent.mkdir(exist_ok=True)
        write_text(asked_file(out), document.as_string())
        path = place.shown(out)
        job = {"run": str(asked_file(out)), "out": str(out)}
        return brief(queue.add(task, job, f"{task} {path}", path, {"run": path}))


def _presets() -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "about": presets.about(name),
            "values": tomllib.loads((assets.PRESETS / f"{name}.toml").read_text("utf-8")),
        }
        for name in presets.names()
    ]


def _project(path: str, place: Place) -> Path:
    folder = place.inside(path)
    if not folder.is_dir():
        raise MissingError("there is no such project", where=path[:200])
    return place.own_files(folder, ("run.toml",))


def _text_of(project: str, place: Place) -> str:
    """Returns a project's run.toml with paths as a page shows them."""
    folder = _project(project, place)
    if not (folder / "run.toml").is_file():
        return ""
    document = parsed(text_file.read(folder / "run.toml"))
    to_web(document, folder, place)
    return document.as_string()


def _both(text: str) -> dict[str, Any]:
    return {"text": text, "values": plain(parsed(text))}


def _checked(values: dict[str, Any], folder: Path, place: Place) -> Checked:
    """Returns the plan; the values' paths are checked before anything is read."""
    document = parsed(as_toml(values))
    found = Checked()
    for key, error in outside(values, folder, place):
        found.tell("error", key, error.line())
    if found.wrong:
        return found
    to_disk(document, place)
    return checked(plain(document), folder)


def _command(project: str) -> str:
    return shlex.join(["renma", "train", f"{project}/run.toml".lstrip("/")])


def _keep(toml: Path, text: str) -> None:
    """Writes run.toml; what it said before lies beside it."""
    if toml.exists() and (before := text_file.read(toml)) != text:
        write_text(toml.with_name("run.before.toml"), before)
    write_text(toml, text)


def _next_run(folder: Path, queue: Any) -> Path:
    """Returns the first folder of a run that neither exists nor is promised to a waiting job."""
    taken = {job.options.get("out") for job in queue.all()}
    for number in range(1, 10_000):
        out = folder / "runs" / f"{number:03d}"
        if not out.exists() and not asked_file(out).exists() and str(out) not in taken:
            return out
    raise UserError("holds too many runs", where=folder.name)
