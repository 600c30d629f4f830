"""[relora]: training in cycles that are merged into the base (ReLoRA, arXiv 2307.05695)."""

from __future__ import annotations

from typing import Literal

from renma.config._base import Section, opt

MOMENTS = frozenset(
    {
        "adamw", "adamw8bit", "pagedadamw8bit", "pagedadamw32bit", "stableadamw", "lion",
        "lion8bit", "pagedlion8bit", "tiger", "sgdnesterov", "ademamix", "ademamix8bit", "muon",
    }
)  # fmt: skip
"""Optimizers whose memory is nothing but moments of the gradient, so that a part can be kept."""


class ReLoraConfig(Section):
    """Cycles: train, merge into the base, begin again from zero."""

    every_steps: int = opt(0, ge=0)
    """Steps of a cycle, after which the LoRA is merged into the base and begins again; 0 is off.
    The sum of n cycles has up to n times the rank."""
    rate_factor: float = opt(1.0, gt=0, le=1)
    """Every cycle's learning rates are this many times those of the one before; 0.7 calms the
    training down from merge to merge."""
    reset: Literal["all", "magnitude"] = opt("all", "advanced")
    """What the optimizer forgets at a merge: everything, or all but its largest numbers."""
    keep: float = opt(0.1, "expert", gt=0, lt=1)
    """Share of the optimizer's moments that `magnitude` keeps, where the first one is largest."""
    where: Literal["auto", "weights", "beside"] = opt("auto", "expert")
    """Where merged cycles live while training: in the base's weights, computed anew from the
    original ones at each merge and rounded once, or unrounded beside weights that are only read.
    `auto` is the weights of a float32 base, else beside: few bits cannot hold a small change."""
    file_rank: int = opt(0, "advanced", ge=0)
    """Rank of the LoRA file that holds all cycles; 0 keeps their sum exactly."""
    merged: bool = opt(False)
    """Also write the base model with the LoRA file merged into it, as `merged/NAME`; with file_rank
    it holds what the shortened file holds."""

    def cycle(self, step: int) -> int:
        """Returns the cycle, from 0, that a step, from 0, belongs to."""
        return step // self.every_steps if self.every_steps else 0

    def merges(self, steps: int) -> range:
        """Returns the numbers of steps after which a run of ``steps`` merges.

        The last cycle is not merged: it is what is trained when the run ends.
        """
        return range(self.every_steps, steps, self.every_steps) if self.every_steps else range(0)
