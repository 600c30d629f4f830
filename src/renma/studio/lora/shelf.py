"""All LoRA files of the workspace and of the folders of models, newest first."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from renma.core.errors import UserError
from renma.formats.metadata import shown
from renma.studio.lora import header, training
from renma.studio.lora.facts import base_of, run_of
from renma.studio.place import OWN, Place

_SKIPPED = {OWN, "state", "cells", "node_modules", "__pycache__"}
_DEEP = 8
MOST = 2000
"""Files that a list shows."""
_MOST_SEEN = 200_000


def listed(place: Place, search: str, *, others: bool = False) -> dict[str, Any]:
    """Returns the files as a page lists them.

    Args:
        place: the workspace.
        search: part of a name, of a path, or of any metadata; empty: all.
        others: whether safetensors files that are no LoRA are listed too.
    """
    rows: list[dict[str, Any]] = []
    passed = 0
    found = sorted(_files(place), key=lambda each: -each[2].st_mtime)
    wanted = search.casefold().strip()
    for path, name, state in found:
        facts = _brief(path, name, state.st_size, state.st_mtime_ns)
        if facts["kind"] == "other" and not others:
            passed += 1
            continue
        if wanted and wanted not in name.casefold() and not _holds(path, name, wanted):
            continue
        if len(rows) >= MOST:
            break
        run, step = run_of(place, path)
        about = {"run": run, "step": step, "bytes": state.st_size, "changed": state.st_mtime}
        rows.append({"file": name, "name": path.name, **about, **facts})
    return {"files": rows, "others": passed, "total": len(found), "models": sorted(place.models)}


def _files(place: Place) -> Iterator[tuple[Path, str, os.stat_result]]:
    """Yields path, name in the web and state of every file that may be looked at."""
    seen = 0
    for root in (place.root, *place.models.values()):
        for folder, folders, files in os.walk(root):
            deep = len(Path(folder).relative_to(root).parts)
            keep = [f for f in folders if f not in _SKIPPED and not f.startswith(".")]
            folders[:] = sorted(keep) if deep < _DEEP else []
            for name in files:
                seen += 1
                if seen > _MOST_SEEN:
                    return
                if name.lower().endswith(".safetensors") and not name.startswith("."):
                    found = _entry(place, Path(folder, name))
                    if found is not None:
                        yield found


def _entry(place: Place, path: Path) -> tuple[Path, str, os.stat_result] | None:
    """Returns a file, unless it is a link out, no ordinary file, or has a name no address has."""
    try:
        name = place.shown(path)
        name.encode()
        place.inside(name)
        state = path.stat()
    except (UserError, OSError, UnicodeError):
        return None
    return (path, name, state) if path.is_file() else None


@lru_cache(maxsize=4096)
def _brief(path: Path, name: str, _size: int, _changed: int) -> dict[str, Any]:
    """Returns what a list tells of a file; size and time are there to notice changes."""
    try:
        found = header.read(path, name, alphas=False)
    except UserError as error:
        return {"kind": "broken", "error": error.what}
    if not found.is_lora:
        return {"kind": "other"}
    ranks = sorted({layer.rank for layer in found.layers.values() if layer.rank is not None})
    names = sorted({layer.algorithm for layer in found.layers.values()})
    base = base_of(found)
    return {
        "kind": "lora",
        "algorithm": ", ".join(names[:3]),
        "ranks": [ranks[0], ranks[-1]] if ranks else [],
        "base": base["told"] or base["guess"],
        "title": shown(found.metadata.get("modelspec.title", ""), 120),
        "triggers": training.triggers(found.metadata)[:3],
    }


def _holds(path: Path, name: str, wanted: str) -> bool:
    try:
        found = header.read(path, name, alphas=False).metadata
    except UserError:
        return False
    return any(wanted in k.casefold() or wanted in v.casefold() for k, v in found.items())
