"""Which folder is the run that somebody means: one rule for everything that takes runs."""

from __future__ import annotations

from pathlib import Path

from renma.core.errors import MissingError, UserError
from renma.core.events import read_events
from renma.core.place import is_there, near

_NAMED = 5
"""Runs named in a message."""
_REMEDY = "Give the folder that `renma train` wrote."


def find_run(path: Path) -> Path:
    """Returns the run's folder that is meant: the one given, or the only one inside of it.

    Args:
        path: a run's folder, its run.toml, a project's folder, or one of runs.

    Raises:
        UserError: nothing is there, nothing was trained there, or there are several runs.
    """
    place = _place(path)
    if not place.is_dir():
        what = "is a file, not a folder" if path.exists() else "there is no such folder"
        raise UserError(what, where=path, remedy=near(path) or _REMEDY)
    if _was_trained(place):
        return place
    found = _inside(place)
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(str(folder.relative_to(place)) for folder in found[-_NAMED:])
        more = f" and {len(found) - _NAMED} older ones" if len(found) > _NAMED else ""
        raise UserError(
            f"holds {len(found)} runs ({names}{more})",
            where=path,
            remedy=f"Give the folder of one of them, such as {found[-1]}.",
        )
    settings = place / "run.toml"
    if settings.is_file():
        raise MissingError(
            "nothing was trained there yet", where=path, remedy=f"First: renma train {settings}"
        )
    raise MissingError("holds no run", where=path, remedy=_REMEDY)


def is_about_runs(path: Path) -> bool:
    """Says whether a run, a project or a folder of runs is at a path, and not something else."""
    if not is_there(path):
        return False
    place = _place(path)
    if not place.is_dir() or (place / "run.toml").is_file():
        return place.is_dir()
    # a model's own folder may have runs in it that were made beside its parts
    return not (place / "model_index.json").is_file() and bool(_inside(place))


def _place(path: Path) -> Path:
    return path.parent if path.name == "run.toml" and path.is_file() else path


def _inside(place: Path) -> list[Path]:
    """Returns the runs in a folder or in its folder of runs."""
    return sorted(f for sign in ("*", "runs/*") for f in place.glob(sign) if _was_trained(f))


def _was_trained(folder: Path) -> bool:
    """Says whether a folder holds settings and something that training left behind."""
    if not (folder / "run.toml").is_file():
        return False
    if any((folder / "lora").glob("*.safetensors")):
        return True
    log = folder / "events.jsonl"
    return log.is_file() and any(row.get("kind") == "started" for row in read_events(log))
