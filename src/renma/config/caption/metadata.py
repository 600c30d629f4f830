"""Options of ``renma caption VERB``: metadata files made of caption files, and cleaned."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from renma.config._base import Section, argument, short


class MergeOptions(Section):
    """Options of ``renma caption merge``."""

    folder: Path = argument()
    """The folder of pictures with caption files beside them."""
    out: Path = short("-o")
    """The metadata to write: .json, or .jsonl with one picture a line. What is in it already stays,
    unless a caption file says otherwise."""
    into: Path | None = None
    """Start from this metadata instead of from what the file to write holds."""
    captions: str = ".caption"
    """Ending of files whose text becomes the caption; empty for none."""
    tags: str = ".txt"
    """Ending of files whose text becomes the tags; empty for none."""
    recursive: bool = False
    """Take the folders inside the folder too."""
    full_path: bool = False
    """Name pictures by their whole path instead of from the folder on."""
    diff: bool = False
    """Show every entry that changes, before and after."""
    dry_run: bool = False
    """Write nothing."""


class CleanOptions(Section):
    """Options of ``renma caption clean``."""

    file: Path = argument()
    """The metadata, .json or .jsonl."""
    out: Path = short("-o")
    """The metadata to write."""
    captions: Literal["keep", "girl"] = "keep"
    """Leave captions alone, or put sd-scripts' words for anime into them: cartoon woman, lady and
    person all become girl. Only for pictures of girls."""
    keep: tuple[str, ...] = ()
    """A tag that no rule removes; repeatable."""
    diff: bool = False
    """Show every entry that changes, before and after."""
    dry_run: bool = False
    """Write nothing."""
