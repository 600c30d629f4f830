"""What every verb that writes captions for pictures can be told."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from renma.config._base import argument, short
from renma.config.prepare._base import Spread

Existing = Literal["skip", "only-empty", "replace", "append", "prepend"]


class WriteOptions(Spread):
    """Options of a verb that looks at pictures and writes captions."""

    folder: Path = argument()
    """The folder of pictures; the folders inside it are taken too."""
    on_existing: Existing = "skip"
    """What to do with a picture that has a caption: skip it, write only where it says nothing
    (only-empty), replace it, or put what is new behind it (append) or before it (prepend). Where
    nothing is said of a picture, its caption stays."""
    extension: str = ".txt"
    """Ending of the caption files."""
    separator: str = ","
    """What stands between tags."""
    out: Path | None = short("-o", None)
    """Write metadata (.json or .jsonl, as sd-scripts' fine-tuning reads it) instead of caption
    files; entries that the file has already are treated as --on-existing says."""
    max_pixels: int = Field(default=64_000_000, ge=1)
    """Pictures with more are left out and named: a small file can hold a huge one."""
    workers: int | None = Field(default=None, ge=1)
    """How many batches are worked on at a time; each worker holds the whole model (default: one for
    each processor core if the model has at most 100 MB, else one that uses all cores)."""
    batch: int = Field(default=8, ge=1)
    """How many pictures the model gets at a time."""
    diff: bool = False
    """Show every caption that changes, before and after."""
    dry_run: bool = False
    """Look at the pictures, but write no caption; what the model said is kept for the next time."""

    @field_validator("extension")
    @classmethod
    def _dot(cls, value: str) -> str:
        return value if value.startswith(".") else f".{value}"

    @field_validator("separator")
    @classmethod
    def _something(cls, value: str) -> str:
        if not value:
            raise ValueError("must be at least one letter")
        return value
