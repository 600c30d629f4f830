"""What a judge says of one checkpoint; trainer and judge know each other by nothing else."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Judgement:
    """What a checkpoint is worth.

    Attributes:
        merit: the higher the better; comparable with the others of the run.
        error: its standard error, if known.
    """

    merit: float
    error: float | None = None
