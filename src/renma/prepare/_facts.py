"""What the record of a step says about its pictures, for the line that sums a verb up."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from renma.prepare._sources import RECORD


def facts(out: Path) -> list[dict[str, Any]]:
    """Returns the facts of every picture that a step's folder holds a record of.

    Args:
        out: the folder the step made; an empty list where it made none.
    """
    file = out / RECORD / "made.jsonl"
    if not file.exists():
        return []
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return [output["facts"] for row in rows for output in row["outputs"]]


def counted(found: list[dict[str, Any]], name: str) -> str:
    """Returns how often each value of a fact occurs, most often first: ``12 flat, 3 alpha``."""
    values = Counter(str(each[name]) for each in found if name in each)
    return ", ".join(f"{count} {value}" for value, count in values.most_common())
