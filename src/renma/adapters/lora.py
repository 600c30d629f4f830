r"""LoRA: W' = W + (alpha / rank) B A, with A (rank, inputs) and B (outputs, rank).

     x ----> W (frozen) ----------------> + ----> y
       \--> A (rank) --> B (outputs) --> * alpha / rank

Linear layers: Hu et al., arXiv 2106.09685. Convolutions (LoCon, LoRA-C3Lier): A keeps the layer's
kernel, stride, padding and dilation, B is a 1x1 convolution. Factors stay 2-D (optimizers that
factor their state need it) and take the layer's shape only in files and in the convolution.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from renma.adapters import _base
from renma.config.adapter import Lora, scale


class Adapter(_base.Adapter):
    """Low-rank update of one layer.

    Args:
        spec: the layer's shape.
        config: rank and alpha.
        generator: source of A's start; B starts at zero, so the layer is unchanged.
    """

    def __init__(self, spec: _base.LayerSpec, config: Lora, generator: torch.Generator) -> None:
        super().__init__()
        self.spec = spec
        self.rank = config.rank
        self.scale = scale(config.rank, config.alpha)
        start = _base.uniform((config.rank, spec.columns), spec.columns, generator)
        self.down = nn.Parameter(start)  # (rank, columns)
        self.up = nn.Parameter(torch.zeros(spec.outputs, config.rank))  # (outputs, rank)

    def apply_weight(
        self, weight: Tensor, bias: Tensor | None, strength: float = 1.0
    ) -> tuple[Tensor, Tensor | None]:
        """Returns W + strength * scale * B A, and the bias as it was."""
        if strength == 0:
            return weight, bias
        delta = (self.up @ self.down).mul(self.scale * strength).reshape(weight.shape)
        return weight + delta.to(weight.dtype), bias

    def run(
        self,
        x: Tensor,
        base: Callable[[Tensor], Tensor],
        layer: nn.Linear | nn.Conv2d,
        strength: _base.Strength = 1.0,
    ) -> Tensor:
        """Returns base(x) + strength * scale * B (A x), never building the full update."""
        if not isinstance(strength, Tensor) and strength == 0:
            return base(x)
        if self.spec.groups > 1:  # every output sees its own inputs: no shared A exists
            return super().run(x, base, layer, strength)
        inner = self._down(x)
        factor = self.scale
        if isinstance(strength, Tensor):
            inner = inner * _base.rows(strength, inner)
        else:
            factor *= strength
        y = base(x)
        up = self.up.to(x.dtype)
        if self.spec.kind == "conv2d":
            return torch.add(y, functional.conv2d(inner, up[:, :, None, None]), alpha=factor)
        flat = torch.addmm(y.flatten(0, -2), inner.flatten(0, -2), up.t(), alpha=factor)
        return flat.view(y.shape)

    def tensors(self) -> dict[str, Tensor]:
        """Returns lora_down.weight, lora_up.weight and alpha as kohya's files hold them."""
        down, up = self.down.detach(), self.up.detach()
        if self.spec.kind == "conv2d":
            down = down.reshape(self.rank, *self.spec.weight_shape[1:])
            up = up[:, :, None, None]
        alpha = torch.tensor(self.scale * self.rank)
        return {"alpha": alpha, "lora_down.weight": down, "lora_up.weight": up}

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes factors and alpha from a file; a missing alpha means alpha = rank."""
        down = _base.take(tensors, "lora_down.weight", tuple(self.down.shape))
        up = _base.take(tensors, "lora_up.weight", tuple(self.up.shape))
        self.down.data.copy_(down)
        self.up.data.copy_(up)
        alpha = tensors.get("alpha")
        self.scale = scale(self.rank, float(alpha) if alpha is not None else 0.0)

    def _down(self, x: Tensor) -> Tensor:
        down = self.down.to(x.dtype)
        if self.spec.kind == "linear":
            return functional.linear(x, down)
        kernel = down.reshape(self.rank, *self.spec.weight_shape[1:])
        return functional.conv2d(
            x, kernel, None, self.spec.stride, self.spec.padding, self.spec.dilation
        )


def parameters(spec: _base.LayerSpec, config: Lora) -> int:
    """Returns how many numbers are trained: rank * (columns + outputs)."""
    return config.rank * (spec.columns + spec.outputs)


def config_of(tensors: Mapping[str, Tensor]) -> Lora:
    """Returns rank and alpha as the tensors of one layer tell them.

    Raises:
        ValueError: they are missing, or no rank and alpha.
    """
    down = tensors.get("lora_down.weight")
    if down is None or down.dim() < 2:
        raise ValueError("lora_down.weight is missing or no matrix")
    rank, alpha = down.shape[0], tensors.get("alpha")
    return Lora(rank=rank, alpha=float(alpha) if alpha is not None else float(rank))
