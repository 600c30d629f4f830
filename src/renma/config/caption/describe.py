"""Options of ``renma caption describe``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from renma.config._base import opt
from renma.config.caption._written import WriteOptions
from renma.config.prepare._base import Executor
from renma.core.errors import UserError


class DescribeOptions(WriteOptions):
    """Options of ``renma caption describe``."""

    model: Path
    """The folder of a captioner as transformers saves it: BLIP, BLIP-2, GIT, Florence-2, or one
    that is talked to, such as Qwen-VL and LLaVA. Nothing is downloaded."""
    prompt: str | None = None
    """What the caption begins with (BLIP, GIT) or what the model is asked (default: what suits
    it)."""
    method: Literal["beams", "nucleus"] = "beams"
    """Look for the likeliest caption, or draw one at random."""
    num_beams: int = opt(3, ge=1)
    """How many likely captions are followed at a time; 1 takes the likeliest word each time."""
    top_p: float = opt(0.9, gt=0, le=1)
    """Words are drawn from the likeliest ones that have this chance together (nucleus)."""
    seed: int = opt(42, ge=0)
    """The number that every random draw follows from (nucleus)."""
    max_length: int = opt(75, ge=1)
    """The most tokens a caption has; raise it for models that describe at length."""
    min_length: int = opt(5, ge=0)
    """The fewest tokens it has."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the model runs."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Numbers to compute with (default: fp32 on the processor, bf16 on a GPU)."""
    executor: Executor = "serial"
    """Who does the work: this process alone, processes of this machine, or a Ray cluster. Each
    worker holds the whole model."""
    batch: int = Field(default=4, ge=1)
    """How many pictures the model gets at a time; drawing at random takes one."""

    @model_validator(mode="after")
    def _lengths(self) -> DescribeOptions:
        if self.min_length > self.max_length:
            raise UserError(
                f"min_length {self.min_length} is more than max_length {self.max_length}",
                remedy="Lower the one or raise the other.",
            )
        return self
