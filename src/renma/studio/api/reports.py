"""Reports of runs: one page each, shown apart from the studio."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import APIRouter
from fastapi.responses import FileResponse

from renma.core.errors import MissingError
from renma.studio.api._given import ThePlace, TheQueue
from renma.studio.api.runs import run_folder, score
from renma.studio.api.runs import runs as all_runs
from renma.studio.place import Place

ROUTER = APIRouter(prefix="/reports", tags=["reports"])
_NAME = "report.html"
_SOURCES = ("events.jsonl", "score.json", "tags.json")
"""What a report tells about, besides the settings, which a run keeps."""
_APART = {
    # an origin of its own: its scripts see neither the cookie nor the interface
    "content-security-policy": "sandbox allow-scripts; default-src 'none'; img-src data:; "
    "style-src 'unsafe-inline'; script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'self'",
    # browsers refuse a page that is sandboxed and wants to keep others out of its window
    "cross-origin-opener-policy": "unsafe-none",
}


@ROUTER.get("")
def reports(place: ThePlace, queue: TheQueue) -> list[dict[str, Any]]:
    """Returns all runs with their verdict, and whether a report is there and still true."""
    return [
        {"path": row["path"], "state": row["state"], **_about(place.inside(row["path"]))}
        for row in all_runs(place, queue)
    ]


@ROUTER.get("/of")
def report(path: str, place: ThePlace) -> dict[str, Any]:
    """Returns what is known about the report of one run."""
    return {"path": path, **_about(run_folder(path, place))}


@ROUTER.get("/page", response_class=FileResponse)
def page(path: str, place: ThePlace) -> FileResponse:
    """Returns the report of a run as a page that can reach nothing, not even the studio."""
    return FileResponse(_file(path, place), media_type="text/html", headers=_APART)


def _file(path: str, place: Place) -> Path:
    run_folder(path, place)
    file = place.inside(f"{path}/{_NAME}")  # it may be a link that leads elsewhere
    if not file.is_file():
        raise MissingError("there is no report yet", where=path[:200])
    return file


def _about(folder: Path) -> dict[str, Any]:
    """Returns when the report was made, and whether something came after it."""
    made, told = _time(folder / _NAME), max(_time(folder / name) for name in _SOURCES)
    judged = score(folder) or {}
    verdict = judged.get("verdict")
    lines = verdict if isinstance(verdict, list) else []
    return {
        "made": made or None,
        "old": bool(made) and made < told,
        "verdict": str(lines[0])[:300] if lines else "",
        "best": str(judged.get("best") or ""),
    }


def _time(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
