"""Files of the workspace: lists, thumbnails, pictures, downloads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import APIRouter
from fastapi.responses import FileResponse, Response

from renma.core.errors import MissingError, UserError
from renma.studio.api._given import ThePlace
from renma.studio.lora.facts import is_text
from renma.studio.place import OWN
from renma.studio.thumbs import thumbnail

ROUTER = APIRouter(prefix="/files", tags=["files"])
PICTURES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp"}
_DOWNLOADS = {
    ".safetensors",
    ".toml",
    ".json",
    ".jsonl",
    ".txt",
    ".csv",
    ".zip",
    ".html",
    *PICTURES,
}
_MOST = 20_000
_SIDES = (64, 128, 192, 256, 384, 512)


@ROUTER.get("/list")
def names(place: ThePlace, path: str = "") -> dict[str, Any]:
    """Returns the folders and files of a folder, without hidden ones."""
    folder = place.inside(path)
    if not folder.is_dir():
        raise MissingError("there is no such folder", where=path[:200])
    rows = []
    for each in sorted(folder.iterdir()):
        if each.name.startswith(".") or each.name == OWN or len(rows) >= _MOST:
            continue
        if not is_text(each.name):
            continue  # an address cannot say it
        if each.is_symlink() and not _stays(place, each):
            continue
        kind = "folder" if each.is_dir() else "file"
        rows.append({"name": each.name, "kind": kind, "bytes": each.lstat().st_size})
    return {"path": path, "entries": rows, "models": sorted(place.models)}


@ROUTER.get("/picture")
def picture(path: str, place: ThePlace) -> Response:
    """Returns a picture as it is."""
    file = _file(place, path)
    if file.suffix.lower() not in PICTURES:
        raise MissingError("there is no picture", where=path[:200])
    return FileResponse(file, media_type=PICTURES[file.suffix.lower()])


@ROUTER.get("/thumb")
def thumb(path: str, place: ThePlace, side: int = 256) -> Response:
    """Returns a small WebP of a picture; it is made once."""
    file = _file(place, path)
    data = thumbnail(file, _rounded(side), place.own / "thumbs")
    # the address has no version, but the browser asks again cheaply
    return Response(data, media_type="image/webp", headers={"cache-control": "private, max-age=60"})


@ROUTER.get("/download")
def download(path: str, place: ThePlace) -> Response:
    """Returns a file to be saved, never to be shown."""
    file = _file(place, path)
    if file.suffix.lower() not in _DOWNLOADS:
        raise MissingError("there is no file to download", where=path[:200])
    return FileResponse(file, media_type="application/octet-stream", filename=file.name)


def _rounded(side: int) -> int:
    """Returns the next of a few sizes, each of which is kept as a file."""
    return next((size for size in _SIDES if size >= side), _SIDES[-1])


def _file(place: Any, path: str) -> Path:
    file = place.inside(path)
    if not file.is_file():
        raise MissingError("there is no such file", where=path[:200])
    return file


def _stays(place: Any, path: Path) -> bool:
    try:
        place.inside(place.shown(path))
    except UserError:
        return False
    return True
