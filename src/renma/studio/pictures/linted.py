"""What the last lint of a folder found, read from what its job printed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from renma.studio.jobs.queue import Queue

_MOST = 64 * 2**20


def last(queue: Queue, path: str) -> dict[str, Any]:
    """Returns the findings of the newest finished lint of a folder, by check.

    Args:
        queue: whose jobs are looked through.
        path: of the folder, as the web sees it.
    """
    jobs = [j for j in queue.all() if j.task == "prepare lint" and j.about == path]
    for job in reversed(jobs):
        if job.state() == "done" and (found := _printed(job.log)):
            return {"job": job.id, "checks": _by_check(found), "pictures": found.get("pictures")}
    return {"job": None, "checks": [], "pictures": None}


def _printed(log: Path) -> dict[str, Any] | None:
    """Returns the object that a job printed among its other lines."""
    if not log.is_file() or log.stat().st_size > _MOST:
        return None
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    if "{" not in lines or "}" not in lines:
        return None
    end = len(lines) - lines[::-1].index("}")
    try:
        return json.loads("\n".join(lines[lines.index("{") : end]))
    except ValueError:
        return None


def _by_check(found: dict[str, Any]) -> list[dict[str, Any]]:
    checks: dict[str, dict[str, Any]] = {}
    for row in found.get("findings", ()):
        head = {name: row[name] for name in ("code", "title", "gravity", "remedy")}
        own = checks.setdefault(row["code"], {**head, "rows": []})
        own["rows"].append({name: row[name] for name in ("picture", "text", "others")})
    return list(checks.values())
