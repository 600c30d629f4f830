"""[copier]: copy-machine LoRA, the difference between two pictures learnt as a slider."""

from __future__ import annotations

from typing import Literal

from renma.config._base import Section, opt

CHECK_PROMPTS = (
    "",
    "a red car",
    "mountains and a lake",
    "portrait of an old man",
    "a white cat on a chair",
)
"""What the copier is asked for where nobody says what: nothing that a set of pictures shows."""


class CopierConfig(Section):
    """Two runs from one file, so that the LoRA holds one change and nothing else.

    First a model is made that draws nothing but the pictures before the change; on top of it, the
    run itself learns those after the change. Its LoRA is a slider: it works on the plain base
    model, and backwards at negative strength.
    """

    train_folder: str = opt("")
    """Pictures before the change, in folders of the same names and under the same names as those
    after it, which data.train_folder holds; pictures lie exactly on one another, captions are the
    same. Empty is off."""
    steps: int = opt(600, ge=1, le=10_000_000)
    """Steps of the first run; it should be trained until every prompt returns its pictures."""
    rank: int = opt(0, ge=0, le=4096)
    """Rank of its LoRA (0 = that of the run; alpha keeps its share of the rank)."""
    learning_rate: float = opt(0.0, ge=0)
    """Its learning rate (0 = that of the run)."""
    save_every_steps: int = opt(0, "advanced", ge=0)
    """Keep a checkpoint of it every n steps (0 = only the finished one)."""
    prompts: tuple[str, ...] = opt(CHECK_PROMPTS, "advanced")
    """Prompts that have nothing to do with the pictures: afterwards it should answer all of them
    with the pictures before the change. Empty = nothing is drawn or measured."""
    least_likeness: float = opt(0.5, "advanced", ge=0, le=1)
    """How alike to the pictures the answers should be: 0 is as unlike as the base model's own, 1
    is the pictures themselves."""
    when_unlike: Literal["warn", "stop"] = opt("warn", "advanced")
    """When they are less alike: go on with a warning, or stop, so that --resume can go on with the
    first run after copier.steps was raised."""

    @property
    def on(self) -> bool:
        """Whether there is a first run at all."""
        return bool(self.train_folder)
