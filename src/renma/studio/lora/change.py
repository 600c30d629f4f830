"""Other metadata for a file, weights untouched: what would change, the change, and the way back."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from renma.core.errors import UserError
from renma.core.store import digest, write_text
from renma.formats import safetensors
from renma.formats.metadata import scrub
from renma.studio.lora.facts import is_text
from renma.studio.lora.texts import MOST_EDITED, visible
from renma.studio.place import Place
from renma.use.edit import rewrite

_KEPT = "metadata-before"
_MOST_KEPT = 10
_MOST_TEXT = 50_000_000
_SHOWN = 300


class Wish(BaseModel):
    """What shall be different."""

    model_config = ConfigDict(extra="forbid")

    file: str = Field(max_length=1000)
    scrub: Literal["minimal", "none"] | None = None
    remove: list[str] = Field(default_factory=list, max_length=2000)
    set: dict[str, str] = Field(default_factory=dict, max_length=500)
    out: str = Field("", max_length=1000)
    """The file to write; empty: the file itself."""
    seen: str = Field("", max_length=80)
    """Version of the file that the page shows; another one is refused."""


def version(path: Path) -> str:
    """Returns what changes when a file does."""
    state = path.stat()
    return digest([state.st_size, state.st_mtime_ns, state.st_ino])[:16]


def preview(path: Path, wish: Wish) -> dict[str, Any]:
    """Returns the differences that a wish makes; nothing is written.

    Raises:
        UserError: the wish cannot be done.
    """
    header, before = safetensors.read_header(path)
    after = wished(before, wish)
    _bounded(header, after)
    rows = [_difference(key, before.get(key), after.get(key)) for key in _changed(before, after)]
    return {
        "differences": rows,
        "before": len(before),
        "after": len(after),
        "kept": [visible(key)[:200] for key in sorted(after)][:200],
    }


def write(path: Path, wish: Wish, place: Place) -> dict[str, Any]:
    """Writes a file with other metadata.

    Raises:
        OutsideError: the place may not be written.
        UserError: nothing would change, the file changed meanwhile, or the copy exists.
    """
    out = target(wish, place)
    if wish.seen and wish.seen != version(path):
        raise UserError(
            "has changed since it was shown", where=wish.file, remedy="Look at it again."
        )
    header, before = safetensors.read_header(path)
    after = wished(before, wish)
    _bounded(header, after)
    if after == before and not wish.out:
        raise UserError("nothing would change", where=wish.file)
    if not wish.out:
        _keep(wish.file, header, (before, after), place)
    rewrite(path, out, header, after)
    return {"file": wish.out or wish.file, "entries": len(after)}


def target(wish: Wish, place: Place) -> Path:
    """Returns where a wish writes.

    Raises:
        OutsideError: the place may not be written.
        UserError: the copy has a name that is taken, or is no safetensors file.
    """
    if not wish.out:
        return place.inside(wish.file, write=True).resolve()
    return new_file(wish.out, place)


def new_file(name: str, place: Place) -> Path:
    """Returns the path of a file that is to be made.

    Raises:
        OutsideError: the place may not be written.
        UserError: it is taken, or is no safetensors file.
    """
    out = place.inside(name, write=True)
    if out.suffix.lower() != ".safetensors" or out.name.startswith("."):
        raise UserError("is no name of a .safetensors file", where=repr(name[:80]))
    if out.exists() or out.is_symlink():
        raise UserError("is there already", where=name, remedy="Choose another name.")
    return out


def wished(before: Mapping[str, str], wish: Wish) -> dict[str, str]:
    """Returns metadata as a wish has it.

    Raises:
        UserError: an entry that is not there, or one that no file can hold.
    """
    found = scrub(before, wish.scrub) if wish.scrub else dict(before)
    for key in wish.remove:
        if key not in before:
            raise UserError(f"has no metadata {key[:80]!r}", where=wish.file)
        found.pop(key, None)
    for key, value in wish.set.items():
        name = key.strip()
        if not name or name == "__metadata__" or len(name) > 300 or not name.isprintable():
            raise UserError("is no name of an entry", where=repr(key[:80]))
        if not is_text(value) or len(value) > MOST_EDITED:
            raise UserError(f"is no text of at most {MOST_EDITED:,} characters", where=name[:80])
        found[name] = value
    return found


def last(name: str, place: Place) -> dict[str, Any] | None:
    """Returns the change of a file that can be taken back, or None."""
    rows = _rows(name, place)
    return {"time": rows[-1]["time"], "entries": len(rows[-1]["before"])} if rows else None


def undo(name: str, place: Place) -> dict[str, Any]:
    """Gives a file the metadata back that it had before the last change.

    Raises:
        UserError: there is no change to take back, or the file was changed by others since.
    """
    path = place.inside(name, write=True).resolve()
    rows = _rows(name, place)
    if not rows:
        raise UserError("has no change to take back", where=name)
    header, now = safetensors.read_header(path)
    row = rows[-1]
    if row["after"] != _print(now) or row["tensors"] != _print(header):
        raise UserError("was changed by another program since", where=name)
    rewrite(path, path, header, row["before"])
    write_text(_store(name, place), json.dumps(rows[:-1]))
    return {"file": name, "entries": len(row["before"])}


def _keep(
    name: str,
    header: Mapping[str, Any],
    texts: tuple[Mapping[str, str], Mapping[str, str]],
    place: Place,
) -> None:
    """Keeps what a file said, so that it can be given back."""
    before, after = texts
    row = {"time": time.time(), "before": dict(before), "after": _print(after)}
    rows = [*_rows(name, place), {**row, "tensors": _print(header)}][-_MOST_KEPT:]
    text = json.dumps(rows)
    write_text(_store(name, place), text if len(text) < _MOST_TEXT else json.dumps(rows[-1:]))


def _rows(name: str, place: Place) -> list[dict[str, Any]]:
    try:
        found = json.loads(_store(name, place).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return found if isinstance(found, list) else []


def _store(name: str, place: Place) -> Path:
    return place.own / _KEPT / f"{digest([place.shown(place.inside(name))])}.json"


def _print(table: Mapping[str, Any]) -> str:
    return digest([json.dumps(table, sort_keys=True)])


def _changed(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    return sorted(k for k in before.keys() | after.keys() if before.get(k) != after.get(k))


def _difference(key: str, before: str | None, after: str | None) -> dict[str, Any]:
    kind = "added" if before is None else "removed" if after is None else "changed"
    return {"key": visible(key)[:200], "kind": kind, "before": _cut(before), "after": _cut(after)}


def _cut(text: str | None) -> str | None:
    if text is None or len(text) <= _SHOWN:
        return None if text is None else visible(text)
    return f"{visible(text[:_SHOWN])}… ({len(text):,})"


def _bounded(header: Mapping[str, Any], metadata: Mapping[str, str]) -> None:
    """Refuses a header that programs would refuse to read.

    Raises:
        UserError: it is too large.
    """
    size = sum(len(k) + 100 for k in header) + sum(len(k) + len(v) for k, v in metadata.items())
    if size > safetensors.MAX_HEADER:
        raise UserError(f"would have more than {safetensors.MAX_HEADER:,} bytes of header")
