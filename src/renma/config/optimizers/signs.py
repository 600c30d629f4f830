"""Optimizers that step by signs or by plain and orthogonalised momentum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from renma.config._base import opt
from renma.config.optimizers._base import Decay, Decayed, Either, Pair, Rates, Traits, eight_bit


class Lion(Either):
    """Lion: steps by the sign of a momentum (arXiv 2302.06675)."""

    kept: ClassVar = 1
    source: ClassVar = "pytorch_optimizer.Lion"
    names: ClassVar = {"decoupled_weight_decay": "weight_decouple"}
    more: ClassVar = ("fixed_decay",)
    usual: ClassVar = (1e-7, 1e-3)
    name: Literal["lion"] = "lion"
    """Optimizer."""
    learning_rate: float = opt(3e-5, kohya="learning_rate", ge=0)
    """Step size; a third to a tenth of what AdamW takes."""
    betas: Pair = opt((0.9, 0.99), "advanced")
    """Share of the momentum in a step, and decay of the momentum."""


class _Lion8bit(Decayed):
    """Lion of bitsandbytes."""

    kept: ClassVar = 1
    more: ClassVar = ("min_8bit_size",)
    usual: ClassVar = (1e-7, 1e-3)
    learning_rate: float = opt(3e-5, kohya="learning_rate", ge=0)
    """Step size; a third to a tenth of what AdamW takes."""
    betas: Pair = opt((0.9, 0.99), "advanced")
    """Share of the momentum in a step, and decay of the momentum."""


class Lion8bit(_Lion8bit):
    """Lion whose momentum is kept in 8 bits (bitsandbytes)."""

    source: ClassVar = "bitsandbytes.optim.Lion8bit"
    name: Literal["lion8bit"] = "lion8bit"
    """Optimizer."""

    def state_bytes(self, shape: Sequence[int], from_zero: bool = False) -> int:  # noqa: ARG002
        """Returns the bytes of state for a trained fp32 tensor."""
        return eight_bit(self.kept, shape, self.args.get("min_8bit_size", 4096))


class PagedLion8bit(_Lion8bit):
    """Lion8bit whose momentum moves to main memory when a GPU's is full."""

    source: ClassVar = "bitsandbytes.optim.PagedLion8bit"
    name: Literal["pagedlion8bit"] = "pagedlion8bit"
    """Optimizer."""

    def state_bytes(self, shape: Sequence[int], from_zero: bool = False) -> int:  # noqa: ARG002
        """Returns the bytes of state for a trained fp32 tensor."""
        return eight_bit(self.kept, shape, self.args.get("min_8bit_size", 4096))

    @property
    def traits(self) -> Traits:
        """It needs a GPU."""
        return Traits(paged=True)


class Tiger(Decayed):
    """Tiger: Lion with one decay only, the least memory of its kind (Su, 2023)."""

    kept: ClassVar = 1
    source: ClassVar = "pytorch_optimizer.Tiger"
    more: ClassVar = ("weight_decouple", "fixed_decay")
    usual: ClassVar = (1e-7, 1e-3)
    name: Literal["tiger"] = "tiger"
    """Optimizer."""
    learning_rate: float = opt(3e-5, kohya="learning_rate", ge=0)
    """Step size; a third to a tenth of what AdamW takes."""
    beta: Decay = opt(0.965, "advanced")
    """Decay of the momentum."""


class _Nesterov(Rates):
    """Plain gradients with a look ahead."""

    kept: ClassVar = 1
    usual: ClassVar = (1e-5, 1e3)
    learning_rate: float = opt(1e-2, kohya="learning_rate", ge=0)
    """Step size; gradients are not rescaled, so far more than AdamW's is needed."""
    momentum: Decay = opt(0.9, "advanced")
    """Decay of the running sum of gradients."""
    weight_decay: float = opt(0.0, "advanced", ge=0)
    """L2 decay, added to the gradient."""


class SGDNesterov(_Nesterov):
    """Gradient descent with Nesterov's momentum (torch)."""

    source: ClassVar = "torch.optim.SGD"
    always: ClassVar = {"nesterov": True, "fused": True}
    name: Literal["sgdnesterov"] = "sgdnesterov"
    """Optimizer."""


class SGDNesterov8bit(_Nesterov):
    """SGDNesterov whose momentum is kept in 8 bits (blocks of bitsandbytes)."""

    source: ClassVar = "renma.optimizers.sgd8bit.SGDNesterov8bit"
    more: ClassVar = ("min_8bit_size",)
    name: Literal["sgdnesterov8bit"] = "sgdnesterov8bit"
    """Optimizer."""

    def state_bytes(self, shape: Sequence[int], from_zero: bool = False) -> int:  # noqa: ARG002
        """Returns the bytes of state for a trained fp32 tensor."""
        return eight_bit(self.kept, shape, self.args.get("min_8bit_size", 4096))


class Muon(Decayed):
    """Muon: momentum made orthogonal, for adapters of matrices only (torch, Jordan 2024)."""

    kept: ClassVar = 1
    source: ClassVar = "torch.optim.Muon"
    more: ClassVar = ("nesterov", "ns_coefficients", "eps", "ns_steps")
    name: Literal["muon"] = "muon"
    """Optimizer."""
    momentum: Decay = opt(0.95, "advanced")
    """Decay of the running mean of the gradient."""
    adjust_lr_fn: Literal["original", "match_rms_adamw"] = opt("match_rms_adamw", "expert")
    """How the rate fits a matrix's shape; `match_rms_adamw` takes AdamW's learning rates."""
