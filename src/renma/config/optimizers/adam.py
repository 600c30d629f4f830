"""AdamW and its kin with smaller state or other moments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from renma.config._base import opt
from renma.config.optimizers._base import Decayed, Either, Pair, Traits, Triple, eight_bit


class AdamW(Either):
    """AdamW (arXiv 1711.05101), in torch's fused form."""

    source: ClassVar = "torch.optim.Adam"
    always: ClassVar = {"fused": True}
    more: ClassVar = ("amsgrad",)
    name: Literal["adamw"] = "adamw"
    """Optimizer."""
    betas: Pair = opt((0.9, 0.999), "advanced")
    """Decay of the running mean and of the running square of the gradient."""
    eps: float = opt(1e-8, "expert", gt=0)
    """Added to the denominator."""


class _Bits(Decayed):
    """AdamW of bitsandbytes."""

    more: ClassVar = ("min_8bit_size",)
    betas: Pair = opt((0.9, 0.999), "advanced")
    """Decay of the running mean and of the running square of the gradient."""
    eps: float = opt(1e-8, "expert", gt=0)
    """Added to the denominator."""


class AdamW8bit(_Bits):
    """AdamW whose state is kept in 8 bits (bitsandbytes, arXiv 2110.02861)."""

    source: ClassVar = "bitsandbytes.optim.AdamW8bit"
    name: Literal["adamw8bit"] = "adamw8bit"
    """Optimizer."""

    def state_bytes(self, shape: Sequence[int], from_zero: bool = False) -> int:  # noqa: ARG002
        """Returns the bytes of state for a trained fp32 tensor."""
        return eight_bit(self.kept, shape, self.args.get("min_8bit_size", 4096))


class PagedAdamW8bit(_Bits):
    """AdamW8bit whose state moves to main memory when a GPU's is full."""

    source: ClassVar = "bitsandbytes.optim.PagedAdamW8bit"
    name: Literal["pagedadamw8bit"] = "pagedadamw8bit"
    """Optimizer."""

    def state_bytes(self, shape: Sequence[int], from_zero: bool = False) -> int:  # noqa: ARG002
        """Returns the bytes of state for a trained fp32 tensor."""
        return eight_bit(self.kept, shape, self.args.get("min_8bit_size", 4096))

    @property
    def traits(self) -> Traits:
        """It needs a GPU."""
        return Traits(paged=True)


class PagedAdamW32bit(_Bits):
    """AdamW whose 32-bit state moves to main memory when a GPU's is full."""

    source: ClassVar = "bitsandbytes.optim.PagedAdamW32bit"
    more: ClassVar = ()
    name: Literal["pagedadamw32bit"] = "pagedadamw32bit"
    """Optimizer."""

    @property
    def traits(self) -> Traits:
        """It needs a GPU."""
        return Traits(paged=True)


class StableAdamW(Either):
    """AdamW that caps a tensor's step where its gradient jumps (arXiv 2304.13013)."""

    source: ClassVar = "pytorch_optimizer.StableAdamW"
    names: ClassVar = {"decoupled_weight_decay": "weight_decouple"}
    more: ClassVar = ("kahan_sum",)
    name: Literal["stableadamw"] = "stableadamw"
    """Optimizer."""
    betas: Pair = opt((0.9, 0.99), "advanced")
    """Decay of the running mean and of the running square of the gradient."""
    eps: float = opt(1e-8, "expert", gt=0)
    """Added to the denominator."""


class _Mixed(Decayed):
    """Adam with a second, very slow mean of the gradient."""

    kept: ClassVar = 3
    more: ClassVar = ("t_alpha", "t_beta3", "min_8bit_size")
    betas: Triple = opt((0.9, 0.999, 0.9999), "advanced")
    """Decay of the fast mean, of the running square, and of the slow mean of the gradient."""
    alpha: float = opt(5.0, "advanced", ge=0)
    """Weight of the slow mean."""
    eps: float = opt(1e-8, "expert", gt=0)
    """Added to the denominator."""


class AdEMAMix(_Mixed):
    """AdEMAMix: Adam that also remembers old gradients (bitsandbytes, arXiv 2409.03137)."""

    source: ClassVar = "bitsandbytes.optim.AdEMAMix"
    name: Literal["ademamix"] = "ademamix"
    """Optimizer."""


class AdEMAMix8bit(_Mixed):
    """AdEMAMix whose state is kept in 8 bits (bitsandbytes)."""

    source: ClassVar = "bitsandbytes.optim.AdEMAMix8bit"
    name: Literal["ademamix8bit"] = "ademamix8bit"
    """Optimizer."""

    def state_bytes(self, shape: Sequence[int], from_zero: bool = False) -> int:  # noqa: ARG002
        """Returns the bytes of state for a trained fp32 tensor."""
        return eight_bit(self.kept, shape, self.args.get("min_8bit_size", 4096))


class Adan(Decayed):
    """Adan: Nesterov momentum by differences of gradients (arXiv 2208.06677)."""

    source: ClassVar = "pytorch_optimizer.Adan"
    names: ClassVar = {"decoupled_weight_decay": "weight_decouple"}
    kept: ClassVar = 4
    more: ClassVar = ("max_grad_norm",)
    name: Literal["adan"] = "adan"
    """Optimizer."""
    betas: Triple = opt((0.98, 0.92, 0.99), "advanced")
    """Decay of the mean of the gradient, of its differences, and of their square."""
    eps: float = opt(1e-8, "expert", gt=0)
    """Added to the denominator."""
    decoupled_weight_decay: bool = opt(False, "expert")
    """Decay before the step. Off: after it, the weights are divided by 1 + rate x decay."""
