"""[relora]: training in cycles that are merged into the base (ReLoRA, arXiv 2307.05695)."""

from __future__ import annotations

from typing import Literal

from renma.config._base import Section, opt


class ReLoraConfig(Section):
    """Cycles: train, merge into the base, begin again from zero."""

    every_steps: int = opt(0, ge=0)
    """Steps of a cycle, after which the LoRA is merged into the base; 0 is off."""
    reset: Literal["all", "magnitude"] = opt("all", "advanced")
    """What the optimizer forgets at a merge: everything, or all but the largest numbers."""
    keep: float = opt(0.1, "expert", gt=0, lt=1)
    """Share of the optimizer's numbers that `magnitude` keeps."""
    file_rank: int = opt(0, ge=0)
    """Rank of the LoRA file that holds all cycles; 0 keeps the sum exactly."""
    merged: bool = opt(False)
    """Also write the base model with everything merged into it."""
