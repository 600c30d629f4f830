"""The picture of a LoRA file: its own, one beside it as web UIs keep them, or the run's preview."""

from __future__ import annotations

import base64
import binascii
import io
from pathlib import Path
from typing import Any

from renma.core.errors import MissingError, UserError
from renma.studio.lora.facts import run_of
from renma.studio.place import Place
from renma.studio.runs import RunFacts
from renma.studio.thumbs import shrunk

_KEY = "modelspec.thumbnail"
_BESIDE = (".preview.png", ".png", ".jpg", ".jpeg", ".webp")
_LONGEST = 8_000_000
SIDE = 512


def told(path: Path, metadata: dict[str, str], place: Place) -> dict[str, Any] | None:
    """Returns where the picture is: ``own`` (in the metadata), or ``path`` in the workspace.

    Whether the file's own one can be read is seen when it is asked for.
    """
    if metadata.get(_KEY, "").startswith("data:image/"):
        return {"kind": "own", "path": None}
    stem = path.name.removesuffix(".safetensors")
    for ending in _BESIDE:
        if (found := _there(path.with_name(f"{stem}{ending}"), place)) is not None:
            return {"kind": "beside", "path": found}
    run, step = run_of(place, path)
    if run is None:
        return None
    rows = [r for r in RunFacts.of(place.inside(run)).previews if isinstance(r.get("path"), str)]
    same = [row for row in rows if row.get("step") == step] or rows
    if not same:
        return None
    found = _there(place.inside(run) / same[-1]["path"], place)
    return {"kind": "preview", "path": found} if found else None


def own(metadata: dict[str, str], name: str) -> bytes:
    """Returns the picture in the metadata as WebP, drawn anew from its pixels.

    Raises:
        MissingError: there is none.
        UserError: it cannot be read.
    """
    head, comma, text = metadata.get(_KEY, "").partition(",")
    if not comma or not head.startswith("data:image/") or not head.endswith(";base64"):
        raise MissingError("there is no picture", where=name)
    if len(text) > _LONGEST:
        raise UserError("has a picture that is too large to be shown", where=name)
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise UserError("has a picture that cannot be read", where=name) from None
    return shrunk(io.BytesIO(data), SIDE, name)


def _there(path: Path, place: Place) -> str | None:
    """Returns a picture's name in the web, if it may be shown."""
    try:
        found = place.shown(path)
        place.inside(found)
    except UserError:
        return None
    return found if path.is_file() else None
