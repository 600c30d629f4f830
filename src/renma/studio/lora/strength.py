"""How strong each block acts: what the job ``file show --json`` found, made small for a chart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from renma.formats.metadata import shown
from renma.studio.api.jobs import brief
from renma.studio.jobs.job import Job
from renma.studio.jobs.queue import Queue

TASK = "file show"
_MOST_LOG = 64 * 2**20


def measured(path: Path, queue: Queue) -> dict[str, Any]:
    """Returns how the measuring stands, and what it found once it is done.

    A measuring counts as long as the file is no younger than it.
    """
    state = path.stat()
    changed = max(state.st_mtime, state.st_ctime)
    ours = [j for j in queue.all() if j.task == TASK and j.options.get("file") == str(path)]
    for job in reversed(ours):
        how = job.state()
        begun = (job.started() or {}).get("time", 0.0)
        if how in ("queued", "running"):
            return {"state": how, "job": brief(job)}
        if how == "failed" and begun >= changed:
            return {"state": how, "job": brief(job), "lines": job.last_lines(3)}
        found = _read(job) if how == "done" and begun >= changed else None
        if found is not None:
            return {"state": how, "job": brief(job), **found}
    return {"state": "none"}


def _read(job: Job) -> dict[str, Any] | None:
    """Returns what a job printed as JSON, reduced; None if that is no longer there."""
    try:
        if job.log.stat().st_size > _MOST_LOG:
            return None
        text = job.log.read_text(encoding="utf-8", errors="replace")
        start = 0 if text.startswith("{\n") else text.index("\n{\n")
        found, _ = json.JSONDecoder().raw_decode(text, text.index("{", start))
    except (OSError, ValueError, RecursionError):
        return None
    return reduced(found) if isinstance(found, dict) and "layers" in found else None


def reduced(found: dict[str, Any]) -> dict[str, Any]:
    """Returns norms by block, and by block and kind of layer; texts are safe to show."""
    cells: dict[tuple[str, str], float] = {}
    kinds: dict[str, None] = {}
    for layer in found["layers"]:
        kind = shown(layer["kind"], 40)
        kinds[kind] = None
        norm = layer["norm"]
        if norm is not None:
            place = (layer["block"], kind)
            cells[place] = (cells.get(place, 0.0) ** 2 + norm**2) ** 0.5
    blocks = [
        {
            "block": shown(row["block"], 40),
            "layers": row["layers"],
            "norm": row["norm"],
            "cells": [cells.get((row["block"], kind)) for kind in kinds],
        }
        for row in found["blocks"]
    ]
    bad = found["not_finite"]
    return {
        "kinds": list(kinds),
        "blocks": blocks,
        "not_finite": {"count": len(bad), "first": shown(bad[0], 160) if bad else ""},
        "notes": [shown(text, 400) for text in found["notes"]],
    }
