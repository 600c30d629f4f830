"""Options of ``renma caption undo``."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from renma.config._base import Section, argument


class UndoOptions(Section):
    """Options of ``renma caption undo``."""

    folder: Path = argument()
    """The folder whose captions were edited, or the metadata."""
    steps: int = Field(default=1, ge=1)
    """How many edits to take back."""
    redo: bool = False
    """Do again what was undone last, instead."""
    force: bool = False
    """Also restore files that somebody else changed since; what they hold now is lost."""
    as_list: bool = Field(default=False, alias="list")
    """Only show the edits there were."""
