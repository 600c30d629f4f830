"""Sheets that other commands left in a run's folder: grids, block maps, the judge's evidence."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from renma.core import json_file
from renma.core.errors import UserError
from renma.judge.inline import Picture, from_file

MOST = 6
"""Grids in the page; others are named."""
MOST_PROMPTS = 24
"""Prompts told of one grid."""
_SIDE, _BYTES = 2000, 380_000


@dataclass(frozen=True)
class Sheet:
    """One sheet with what its PNG tells about itself."""

    name: str
    title: str
    picture: Picture
    prompts: tuple[tuple[str, str], ...]
    """(kind, text) of its pages; an older or foreign picture names none."""


def grids(folder: Path) -> tuple[list[Sheet], list[str]]:
    """Returns the grids of a folder and the names of those that were left out."""
    paths = sorted(path for path in folder.glob("grid*.png") if path.is_file())
    return [_sheet(path) for path in paths[:MOST]], [path.name for path in paths[MOST:]]


def sheet(folder: Path, name: str) -> Sheet | None:
    """Returns the sheet of a name, or None."""
    path = folder / name
    return _sheet(path) if path.is_file() else None


def _sheet(path: Path) -> Sheet:
    title, prompts = _about(path)
    return Sheet(path.name, title, from_file(path, _SIDE, _BYTES), prompts)


def _about(path: Path) -> tuple[str, tuple[tuple[str, str], ...]]:
    try:
        with Image.open(path) as picture:
            row = json_file.parse(picture.info.get("renma", "{}"), path)
        prompts = [(str(one["kind"]), str(one["text"])) for one in row.get("prompts", [])]
        rest = len(prompts) - MOST_PROMPTS
        more = [("", f"and {rest} more")] if rest > 0 else []
        return str(row.get("title", "")), (*prompts[:MOST_PROMPTS], *more)
    except (UserError, OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return "", ()  # no picture, or not one of ours
    except (TypeError, KeyError, AttributeError, RecursionError):
        return "", ()  # another form
