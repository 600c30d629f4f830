"""[optimizer]: how weights move. One class per file in ``renma/optimizers``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from renma.config._base import Section, default_tag, opt

Decay = Annotated[float, Field(ge=0, lt=1)]


class _Rates(Section):
    """Learning rates of the trained parts."""

    learning_rate: float = opt(1e-4, kohya="learning_rate", ge=0)
    """Step size; used for every part that has no rate of its own."""
    unet_lr: float | None = opt(None, kohya="unet_lr", ge=0, strict=True)
    """Step size of the U-Net; 0 leaves it untrained."""
    text_encoder_lr: float | None = opt(None, kohya="text_encoder_lr", ge=0, strict=True)
    """Step size of the text encoder; 0 leaves it untrained."""

    def rate(self, part: str) -> float:
        """Returns the learning rate of `unet` or `text_encoder`."""
        own = self.unet_lr if part == "unet" else self.text_encoder_lr
        return self.learning_rate if own is None else own


class AdamW(_Rates):
    """AdamW with decoupled weight decay (arXiv 1711.05101)."""

    name: Literal["adamw"] = "adamw"
    """Optimizer."""
    betas: tuple[Decay, Decay] = opt((0.9, 0.999), "advanced")
    """Decay of the running mean and of the running square of the gradient."""
    eps: float = opt(1e-8, "expert", gt=0)
    """Added to the denominator."""
    weight_decay: float = opt(0.01, "advanced", ge=0)
    """Decoupled decay, multiplied by the learning rate."""


class AdamW8bit(AdamW):
    """AdamW whose state is kept in 8 bits (bitsandbytes, arXiv 2110.02861)."""

    name: Literal["adamw8bit"] = "adamw8bit"  # pyright: ignore[reportIncompatibleVariableOverride]
    """Optimizer."""


class Prodigy(_Rates):
    """Prodigy: finds the step size by itself (arXiv 2306.06101)."""

    name: Literal["prodigy"] = "prodigy"
    """Optimizer."""
    learning_rate: float = opt(1.0, kohya="learning_rate", ge=0)
    """A factor on the step size that Prodigy finds; leave it at 1."""
    betas: tuple[Decay, Decay] = opt((0.9, 0.999), "advanced")
    """Decay of the running mean and of the running square of the gradient."""
    weight_decay: float = opt(0.0, "advanced", ge=0)
    """Decoupled decay."""
    d_coef: float = opt(1.0, "advanced", gt=0)
    """Factor on the found step size; below 1 is more careful."""
    safeguard_warmup: bool = opt(True, "expert")
    """Keeps a warm-up from misleading the step size estimate."""
    use_bias_correction: bool = opt(True, "expert")
    """Adam's bias correction."""


OptimizerConfig = Annotated[
    AdamW | AdamW8bit | Prodigy, Field(discriminator="name"), default_tag("name", "adamw")
]
