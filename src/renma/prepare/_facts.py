"""What the record of a step says about its pictures, for the line that sums a verb up."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from renma.prepare._sources import RECORD


def facts(out: Path) -> list[dict[str, Any]]:
    """Returns the facts of every picture made, with its ``source``, as the record has them.

    Args:
        out: the folder the step made; an empty list where it made none.
    """
    file = out / RECORD / "made.jsonl"
    if not file.exists():
        return []
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return [
        {**output["facts"], "source": row["source"]} for row in rows for output in row["outputs"]
    ]


def counted(found: list[dict[str, Any]], name: str) -> str:
    """Returns how many originals have each value of a fact: ``12 flat, 3 alpha``.

    An original from which several pictures were made counts once; the most common value is first.
    """
    once = dict.fromkeys((each["source"], str(each[name])) for each in found if name in each)
    values = Counter(value for _, value in once)
    return ", ".join(f"{count} {value}" for value, count in values.most_common())
