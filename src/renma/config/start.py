"""[start]: what training begins from."""

from __future__ import annotations

from pydantic import model_validator

from renma.config._base import Section, opt


class StartConfig(Section):
    """What training begins from; left empty, a fresh adapter on the plain base model."""

    weights: str = opt("", kohya="network_weights")
    """A LoRA file to go on from; its alpha stays in force."""
    ranks_from_file: bool = opt(False, kohya="dim_from_weights")
    """Take layers, ranks and alphas from that file instead of [adapter]."""
    base_weights: tuple[str, ...] = opt((), kohya="base_weights")
    """LoRA files merged into the base model first: only what they lack is learnt."""
    base_strengths: tuple[float, ...] = opt((), kohya="base_weights_multiplier")
    """How strongly each of them is merged (missing ones: 1)."""

    @model_validator(mode="after")
    def _fits(self) -> StartConfig:
        if len(self.base_strengths) > len(self.base_weights):
            raise ValueError(
                f"{len(self.base_strengths)} base_strengths for {len(self.base_weights)} "
                "base_weights"
            )
        if self.ranks_from_file and not self.weights:
            raise ValueError("ranks_from_file needs weights, the file to take them from")
        return self
