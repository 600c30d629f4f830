"""[adapter]: what is trained. One class per file in ``renma/adapters``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from renma.config._base import Section, default_tag, opt


class Lora(Section):
    """LoRA: W + (alpha / rank) B A (arXiv 2106.09685)."""

    algo: Literal["lora"] = "lora"
    """Adapter algorithm."""
    rank: int = opt(4, kohya="network_dim", ge=1, le=4096)
    """Width of the low-rank bottleneck; file size and capacity grow with it."""
    alpha: float = opt(1.0, kohya="network_alpha", ge=0)
    """The update is scaled by alpha / rank; 0 means alpha = rank (scale 1)."""


AdapterConfig = Annotated[Lora, Field(discriminator="algo"), default_tag("algo", "lora")]


def scale(rank: int, alpha: float) -> float:
    """Returns alpha / rank, with alpha 0 meaning alpha = rank."""
    return (alpha or rank) / rank
