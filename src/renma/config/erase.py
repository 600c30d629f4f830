"""[erase]: concepts to erase or to strengthen, from words alone (LECO; Gandikota 2303.07345)."""

from __future__ import annotations

from typing import Literal

from renma.config._base import Section, opt


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
    """How far beyond the neutral picture it goes."""
    resolution: int = opt(0, ge=0, le=4096)
    """Side of the latent pictures in pixels; 0 is the model's own."""
    dynamic_resolution: bool = opt(False, "advanced")
    """Draws each side anew between half of `resolution` and the whole."""
    dynamic_crops: bool = opt(False, "expert")
    """SDXL: tells the model a larger picture and a random crop of it."""
    batch_size: int = opt(1, ge=1, le=64)
    """Latent pictures in a step."""


class EraseConfig(Section):
    """Concepts to erase; no pictures are needed."""

    prompts: tuple[ErasePrompt, ...] = opt(())
    """The concepts, a table [[erase.prompts]] each."""
    prompts_file: str = opt("")
    """The same from a file: LECO's YAML list, or TOML with [[prompts]]."""

    @property
    def on(self) -> bool:
        """Whether the run erases."""
        return bool(self.prompts or self.prompts_file)
