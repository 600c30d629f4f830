"""Frozen weights in 8 or 4 bits under trained adapters (QLoRA, Dettmers et al., arXiv 2305.14314).

``nf4`` and ``fp4`` keep blocks of 64 numbers as 4-bit codes and one scale, the scales themselves
in 8 bits; ``int8`` keeps blocks of 256 as 8-bit codes (bitsandbytes, on CPU and GPU). A layer's
weight is computed back for each multiplication, forward and backward, and never kept.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from bitsandbytes import functional as bnb
from torch import Tensor, nn
from torch.nn import functional

Storage = Literal["int8", "nf4", "fp4"]


class QuantizedLinear(nn.Linear):
    """A frozen linear layer whose weight is stored in few bits.

    Args:
        layer: the layer to be replaced.
        storage: ``int8``, ``nf4`` or ``fp4``.
    """

    def __init__(self, layer: nn.Linear, storage: Storage) -> None:
        # on the meta device: no weight is allocated that would be thrown away
        super().__init__(layer.in_features, layer.out_features, device="meta")
        self.storage: Storage = storage
        self.shape, self.dtype = layer.weight.shape, layer.weight.dtype
        weight = layer.weight.detach().float().contiguous()
        if storage == "int8":
            packed, state = bnb.quantize_blockwise(weight, blocksize=256)
        else:
            packed, state = bnb.quantize_4bit(
                weight, blocksize=64, compress_statistics=True, quant_type=storage
            )
        del self.weight
        self.register_buffer("weight", packed)
        self.state = state
        bias = layer.bias
        self.bias = None if bias is None else nn.Parameter(bias.detach(), requires_grad=False)

    def dequantized(self, dtype: torch.dtype) -> Tensor:
        """Returns the weight (outputs, inputs), computed back for the moment."""
        packed: Any = self.weight
        if self.storage == "int8":
            weight = bnb.dequantize_blockwise(packed, self.state)
        else:
            weight = bnb.dequantize_4bit(packed, self.state)
        return weight.reshape(self.shape).to(dtype)

    def _apply(self, fn: Any, recurse: bool = True) -> QuantizedLinear:
        """Moves the scales together with the codes; neither changes its precision."""
        device = fn(torch.empty(0, device=self.weight.device)).device
        super()._apply(lambda t: t.to(device), recurse)
        self.state.to(device)
        return self

    def stored_bytes(self) -> int:
        """Returns the bytes of codes and scales."""
        state: Any = self.state
        scales = [state.absmax, getattr(state.state2, "absmax", None)]
        kept = [self.weight, *(s for s in scales if s is not None)]
        return sum(t.numel() * t.element_size() for t in kept)

    def forward(self, input: Tensor) -> Tensor:
        """Returns the layer's output; nothing is kept for the backward pass."""
        bias = None if self.bias is None else self.bias.to(input.dtype)
        return _Frozen.apply(input, self, bias)


class _Frozen(torch.autograd.Function):
    """A linear layer with a frozen weight that is computed back in both directions."""

    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, x: Tensor, layer: QuantizedLinear, bias: Tensor | None
    ) -> Tensor:
        """Returns x W^T + b."""
        ctx.layer = layer
        return functional.linear(x, layer.dequantized(x.dtype), bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        """Gradient to x."""
        return grads[0] @ ctx.layer.dequantized(grads[0].dtype), None, None


def quantize(root: nn.Module, storage: Storage) -> int:
    """Replaces every linear layer inside transformer blocks; others stay as they are.

    Embeddings of time, convolutions and projections at the ends are small or sensitive.

    Returns:
        How many layers were replaced.
    """
    found = [
        (path, layer)
        for path, layer in root.named_modules()
        if isinstance(layer, nn.Linear) and ".transformer_blocks." in path
    ]
    for path, layer in found:
        parent, _, name = path.rpartition(".")
        setattr(root.get_submodule(parent), name, QuantizedLinear(layer, storage))
    return len(found)
