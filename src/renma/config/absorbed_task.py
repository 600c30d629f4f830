"""Options of ``renma absorbed``."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from renma.config._base import argument
from renma.config.judge_task import LookOptions


class AbsorbedOptions(LookOptions):
    """Options of ``renma absorbed``."""

    folder: Path = argument()
    """The folder of a finished or stopped run; its run.toml or a project folder, where there is
    one run, will do, too."""
    checkpoint: str = ""
    """Which LoRA to ask: last, best, a step such as 300, or a file (default: the best that `renma
    judge` named, else the last)."""
    tags: tuple[str, ...] = ()
    """A tag to ask about besides those of the captions, such as one that was taken out of them;
    repeatable. What `renma caption maruzen` took out is asked about anyway."""
    most: int = Field(default=12, ge=0, le=1000)
    """Tags of the captions at most, the most frequent ones; 0 asks about --tags alone."""
    pictures: int = Field(default=16, ge=8, le=1000)
    """Pictures of each prompt; more make the figures surer."""
    trigger: str = ""
    """The trigger word (default: [output] trigger of the run)."""
    class_prompt: str | None = None
    """What pictures are drawn of besides the tag, without the trigger (default: the tags that most
    captions share)."""
