"""Options of ``renma judge``, and those it shares with others that look at pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from renma.config._base import Section, argument


class LookOptions(Section):
    """What looks at pictures of a run, and where it computes."""

    encoder: str = ""
    """What looks at the pictures: clip:FOLDER, dino:FOLDER or wd14:FOLDER, models on this machine
    (default: the base model's own U-Net)."""
    as_json: bool = Field(default=False, alias="json")
    """Print what is found as JSON, for programs."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute."""
    precision: Literal["fp32", "fp16", "bf16"] | None = None
    """Precision of the base model (default: the run's, else fp32)."""
    batch_size: int | None = Field(default=None, ge=1, le=1024)
    """Pictures computed at once (default: 8 on a CPU, else 1)."""


class JudgeOptions(LookOptions):
    """Options of ``renma judge``."""

    folder: Path = argument()
    """The folder of a finished or stopped run; its run.toml or a project folder, where there is
    one run, will do, too."""
    pictures: int | None = Field(default=None, ge=2, le=1000)
    """Pictures of each prompt (default: [judge] pictures of the run); more decide closer calls."""
