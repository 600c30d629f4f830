"""Options of ``renma caption undo``."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, field_validator

from renma.config._base import Section, argument


class UndoOptions(Section):
    """Options of ``renma caption undo``."""

    folder: Path = argument()
    """The folder whose captions were edited; or metadata, of which only its own edits are taken
    back."""
    steps: int = Field(default=1, ge=1)
    """How many edits to take back."""
    redo: bool = False
    """Do again what was undone last, instead."""
    force: bool = False
    """Also restore files that somebody else changed since; what they hold now is lost."""
    as_list: bool = Field(default=False, alias="list")
    """Only show the edits there were."""
    extension: str = ""
    """Ending of the caption files, where it is none of .txt, .caption and .tags: nothing else is
    written unless you name it."""

    @field_validator("extension")
    @classmethod
    def _dotted(cls, value: str) -> str:
        return value if value.startswith(".") or not value else f".{value}"
