"""Metadata and tags of a file as text that a page can show: cut, searched, nothing in it acts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from renma.formats.metadata import shown, tag_counts
from renma.studio.lora.facts import is_text

FOLDED = 400
"""Characters of a value that a list shows."""
MOST_ENTRIES = 1000
MOST_WHOLE = 500_000
MOST_EDITED = 200_000
"""Characters of a value that a page lets one change."""
MOST_TAGS = 3000


def entries(metadata: Mapping[str, str], search: str) -> dict[str, Any]:
    """Returns the entries that hold a text, in key or value; of long values what is around it."""
    wanted = search.casefold().strip()
    rows = []
    found = 0
    for key, value in sorted(metadata.items()):
        if wanted and wanted not in key.casefold() and wanted not in value.casefold():
            continue
        found += 1
        if len(rows) < MOST_ENTRIES:
            rows.append(_entry(key, value, wanted))
    return {"entries": rows, "found": found, "total": len(metadata)}


def whole(key: str, value: str) -> dict[str, Any]:
    """Returns one entry as long as a page can bear."""
    cut = value[:MOST_WHOLE]
    editable = is_text(value) and key.isprintable() and len(value) <= MOST_EDITED
    return {
        "key": visible(key),
        "text": visible(cut),
        "characters": len(value),
        # as it is, for a field to change it in
        "raw": value if editable else None,
    }


def tags(metadata: Mapping[str, str]) -> dict[str, Any]:
    """Returns the commonest tags of the captions with their counts."""
    found = tag_counts(metadata)
    rows = [[shown(tag, 200), count] for tag, count in list(found.items())[:MOST_TAGS]]
    return {"tags": rows, "total": len(found), "told": "ss_tag_frequency" in metadata}


def visible(text: str) -> str:
    """Returns text with its lines, where everything else that acts or hides is spelled out."""
    return "\n".join(shown(line, len(line)) for line in text.split("\n"))


def _entry(key: str, value: str, wanted: str) -> dict[str, Any]:
    place = value.casefold().find(wanted) if wanted else 0
    start = 0 if place < FOLDED // 2 else place - FOLDED // 4
    cut = visible(value[start : start + FOLDED])
    before, after = "…" if start else "", "…" if start + FOLDED < len(value) else ""
    return {
        # a key that is no text cannot be asked for again
        "key": key if is_text(key) else None,
        "name": shown(key, 200),
        "text": f"{before}{cut}{after}",
        "characters": len(value),
        "folded": bool(before or after),
    }
