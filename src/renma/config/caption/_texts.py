"""What every verb that reads and changes finished captions can be told."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from renma.config._base import Section, argument, short


class TextOptions(Section):
    """Options of a verb that reads captions."""

    folder: Path = argument()
    """The folder of pictures with their captions; the folders inside it are taken too. Or metadata
    of kohya-ss/sd-scripts, .json or .jsonl."""
    extension: str = ".txt"
    """Ending of the caption files."""
    flat: bool = False
    """Leave the folders inside the folder out."""
    separator: str = Field(default=",", min_length=1)
    """What stands between tags."""
    only: Literal["caption", "tags"] | None = None
    """With metadata: take only this key of a picture (default: both, the caption before the
    tags)."""

    @field_validator("extension")
    @classmethod
    def _dotted(cls, value: str) -> str:
        return value if value.startswith(".") else f".{value}"


class EditingOptions(TextOptions):
    """Options of a verb that changes captions."""

    where: str = ""
    """Only captions whose tags fit, such as "smile and not (hat or /^blue/)": whole tags, `*`
    stands for any letters, /.../ is a regular expression, quotes take brackets and `*` as they
    are."""
    out: Path | None = short("-o", None)
    """With metadata: the file to write (default: the metadata itself)."""
    diff: bool = False
    """Show every caption that changes, before and after."""
    dry_run: bool = False
    """Write nothing."""
