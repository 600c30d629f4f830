"""Optimizers that keep the running square as one row and one column a matrix."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, Literal, Self

from pydantic import model_validator

from renma.config._base import opt
from renma.config.optimizers._base import Either, Rates, Traits, Triple, factored


class Adafactor(Rates):
    """Adafactor (transformers, arXiv 1804.04235): its own rates, or fixed ones."""

    source: ClassVar = "transformers.optimization.Adafactor"
    more: ClassVar = ("eps", "decay_rate", "beta1")
    usual: ClassVar = (1e-7, 1e-2)
    name: Literal["adafactor"] = "adafactor"
    """Optimizer."""
    relative_step: bool = opt(True)
    """The rate follows from the step alone: 0.01, after 10 000 steps 1 / sqrt(step). Learning rates
    and schedule are then not used. Off: they are, as with other optimizers."""
    scale_parameter: bool = opt(True, "advanced")
    """Multiply the rate by each tensor's size (at least 0.001). Turn it off with a fixed rate: what
    starts at zero would hardly move."""
    warmup_init: bool = opt(False, "advanced")
    """With `relative_step`: rise to its rate, by a millionth a step."""
    clip_threshold: float = opt(1.0, "advanced", gt=0)
    """A tensor's step is cut to this root mean square."""
    weight_decay: float = opt(0.0, "advanced", ge=0)
    """Decoupled decay, multiplied by the rate."""

    @property
    def traits(self) -> Traits:
        """With relative steps it needs no rate and no schedule."""
        return Traits(own_schedule="relative_step" if self.relative_step else "")

    def state_bytes(self, shape: Sequence[int], from_zero: bool = False) -> int:  # noqa: ARG002
        """Returns the bytes of state: a mean only with args.beta1."""
        count = math.prod(shape)
        mean = count if self.args.get("beta1") is not None else 0
        return 4 * (mean + (factored(shape) if len(shape) > 1 else count))

    @model_validator(mode="after")
    def _warm(self) -> Self:
        if self.warmup_init and not self.relative_step:
            raise ValueError(
                "warmup_init needs relative_step = true; for a fixed rate take "
                "schedule.name = 'constant_with_warmup'"
            )
        return self

    def relative_rate(self, step: int) -> float:
        """Returns the rate of the 1-based ``step`` before it is scaled by a tensor's size."""
        return min(1e-6 * step if self.warmup_init else 1e-2, step**-0.5)


class CAME(Either):
    """CAME: Adafactor with confidence (arXiv 2307.02047)."""

    source: ClassVar = "pytorch_optimizer.CAME"
    names: ClassVar = {"decoupled_weight_decay": "weight_decouple"}
    more: ClassVar = ("ams_bound", "clip_threshold", "eps1", "eps2", "fixed_decay")
    name: Literal["came"] = "came"
    """Optimizer."""
    betas: Triple = opt((0.9, 0.999, 0.9999), "advanced")
    """Decay of the mean of the gradient, of its square, and of the confidence."""

    def state_bytes(self, shape: Sequence[int], from_zero: bool = False) -> int:  # noqa: ARG002
        """Returns the bytes of state: a mean, the square and the confidence."""
        count = math.prod(shape)
        return 4 * (count + (2 * factored(shape) if len(shape) > 1 else count))
