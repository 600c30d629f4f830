"""[erase]: concepts to erase or to strengthen, from words alone (LECO; Gandikota 2303.07345)."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from renma.config._base import Section, opt
from renma.core.errors import UserError

Walker = Literal["ddim", "euler", "euler_a", "lms", "dpmsolver++"]
"""Samplers that ask the model once a step."""


class ErasePrompt(Section):
    """One concept: what is to be drawn like what."""

    target: str
    """The words whose picture changes."""
    positive: str | None = opt(None)
    """What is taken away (or added); left out, the target itself."""
    neutral: str | None = opt(None)
    """What the target should look like instead; left out, `unconditional`."""
    unconditional: str = opt("")
    """What guidance starts from; the empty text is the usual one."""
    action: Literal["erase", "enhance"] = opt("erase")
    """Whether the concept is taken away or made stronger."""
    guidance_scale: float = opt(1.0, ge=0, le=30)
    """How far beyond the neutral picture it goes: away from the positive one, or towards it."""
    resolution: int = opt(0, ge=0, le=4096)
    """Side of the latent pictures in pixels; 0 is the model's own."""
    dynamic_resolution: bool = opt(False, "advanced")
    """Draws each side anew between half of `resolution` and the whole."""
    dynamic_crops: bool = opt(False, "expert")
    """SDXL: tells the model a larger picture, up to three times, and a random crop of it."""
    batch_size: int = opt(1, ge=1, le=64)
    """Latent pictures that are drawn side by side."""

    @property
    def away(self) -> str:
        """The words of `positive`, defaults filled in."""
        return self.target if self.positive is None else self.positive

    @property
    def like(self) -> str:
        """The words of `neutral`, defaults filled in."""
        return self.unconditional if self.neutral is None else self.neutral

    @property
    def texts(self) -> tuple[str, ...]:
        """All texts that are needed, each once."""
        return tuple(dict.fromkeys((self.target, self.like, self.away, self.unconditional)))

    @property
    def frozen_texts(self) -> tuple[str, ...]:
        """What the model without the LoRA is asked, each text once, the neutral one first."""
        guided = (self.away, self.unconditional) if self.guidance_scale else ()
        return tuple(dict.fromkeys((self.like, *guided)))

    def side(self, native: int) -> int:
        """Returns the side in pixels.

        Args:
            native: the model's own side.
        """
        return self.resolution or native


class EraseConfig(Section):
    """Concepts to erase; no pictures are needed."""

    prompts: tuple[ErasePrompt, ...] = opt(())
    """The concepts, a table [[erase.prompts]] each; every batch takes one of them by chance."""
    prompts_file: str = opt("")
    """The same from a file: LECO's YAML list, or TOML with [[prompts]]."""
    sampler: Walker = opt("ddim", "advanced")
    """Draws the unfinished pictures that are learnt from."""
    steps: int = opt(50, "advanced", ge=2, le=1000)
    """Steps of the whole way from noise to a picture; only a part of it is gone."""
    guidance: float = opt(3.0, "advanced", ge=1, le=30)
    """Classifier-free guidance (CFG) on that way."""
    first_step: int = opt(1, "expert", ge=0)
    """The least number of steps that is gone; 0 learns from pure noise too."""
    last_step: int = opt(0, "expert", ge=0)
    """The largest number of steps that is gone; 0 is all but the last one."""
    points: int = opt(1, "advanced", ge=1, le=64)
    """Places of each way that are learnt from together. Going there is nearly all of the work, so
    3 or 4 of them give steadier steps for little more time."""

    @model_validator(mode="after")
    def _has_places(self) -> EraseConfig:
        first, last = self.range
        if last >= self.steps:
            raise UserError(
                f"is not before the last of {self.steps} steps",
                where=f"erase.last_step = {self.last_step}",
                remedy=f"Use at most {self.steps - 1}, or 0.",
            )
        if first > last:
            raise UserError(
                f"leaves no step up to {last}",
                where=f"erase.first_step = {first}",
                remedy="Make it smaller, or raise erase.last_step.",
            )
        if self.points > last - first + 1:
            raise UserError(
                f"is more than the {last - first + 1} places from step {first} to {last}",
                where=f"erase.points = {self.points}",
                remedy="Lower it, or raise erase.steps.",
            )
        return self

    @property
    def range(self) -> tuple[int, int]:
        """The least and the largest number of steps that is gone."""
        return self.first_step, self.last_step or self.steps - 1

    @property
    def on(self) -> bool:
        """Whether the run erases."""
        return bool(self.prompts or self.prompts_file)
