"""Projects: folders with pictures and a run.toml."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from renma.config.run_tasks import InitOptions
from renma.core.errors import UserError
from renma.core.events import Silent
from renma.studio.api._given import ThePlace
from renma.use import init

ROUTER = APIRouter(prefix="/projects", tags=["projects"])
_PICTURES = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}
_SHOWN = 6


class NewProject(BaseModel):
    """A project to make."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=80)
    sample: Literal["character", "style"] | None = None


@ROUTER.get("")
def projects(place: ThePlace) -> list[dict[str, Any]]:
    """Returns the projects of the workspace."""
    folders = [f for f in sorted(place.root.iterdir()) if _is_project(f)]
    return [_brief(folder, place) for folder in folders]


@ROUTER.post("")
def make(new: NewProject, place: ThePlace) -> dict[str, Any]:
    """Makes a project, with pictures of a sample or room for one's own."""
    if "/" in new.name:
        raise UserError("a name has no slashes", where=repr(new.name))
    folder = place.inside(new.name, write=True)
    init.run(InitOptions(folder=folder, sample=new.sample), Silent())
    return _brief(folder, place)


def picture_files(folder: Path) -> list[Path]:
    """Returns the pictures below a folder, in order; links to elsewhere are left out."""
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in _PICTURES and p.is_file())


def _is_project(folder: Path) -> bool:
    if folder.name.startswith(".") or folder.is_symlink() or not folder.is_dir():
        return False
    return (folder / "run.toml").is_file() or (folder / "train").is_dir()


def _brief(folder: Path, place: Any) -> dict[str, Any]:
    found = picture_files(folder / "train")
    return {
        "path": place.shown(folder),
        "name": folder.name,
        "pictures": len(found),
        "shown": [place.shown(p) for p in found[:_SHOWN]],
        "settings": (folder / "run.toml").is_file(),
        "runs": len(list(folder.glob("runs/*/events.jsonl"))),
    }
