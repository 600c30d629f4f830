"""[stop]: when training ends by itself."""

from __future__ import annotations

from renma.config._base import Section, opt


class StopConfig(Section):
    """Judging while training: it stops when checkpoints get no better; off unless asked for."""

    every_checkpoints: int = opt(0, ge=0)
    """Judge every n-th checkpoint as soon as it is written, and the last LoRA (0 = never: train to
    the end). Judging draws pictures, which takes its time."""
    patience: int = opt(3, ge=1)
    """Stop after so many judgings in a row without betterment."""
    min_delta: float = opt(0.0, "advanced", ge=0)
    """Merit counts as better only if it grew by more than this."""
    from_step: int = opt(0, "advanced", ge=0)
    """Leave checkpoints before this step unjudged: at first there is little to see."""
    keep_best: bool = opt(True, "advanced")
    """Copy the best checkpoint to `best/` in the run's folder, where nothing removes it."""
