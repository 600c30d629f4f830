"""Options of ``renma caption audit``."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from renma.config._base import argument
from renma.config.caption._texts import TextOptions


class AuditOptions(TextOptions):
    """Options of ``renma caption audit``."""

    folder: Path = argument()
    """The folder of pictures with their captions, or of 10_name folders, or of a run.toml; or
    metadata of kohya-ss/sd-scripts. Nothing in it is changed."""
    trigger: str = ""
    """The trigger word (default: what run.toml says, what most captions begin with, or what the
    folder is called)."""
    strict: bool = False
    """End with exit code 2 if there is anything to mend or to look at."""
    ignore: tuple[str, ...] = ()
    """A check to leave out, by its name in the report, such as seen-once; repeatable."""
    as_json: bool = Field(default=False, alias="json")
    """Print what was found as JSON, with every tag's figures, for programs."""
