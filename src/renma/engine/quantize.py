"""Frozen weights in 8 or 4 bits under trained adapters (QLoRA, Dettmers et al., arXiv 2305.14314).

``nf4`` and ``fp4`` keep blocks of 64 numbers as 4-bit codes and one scale, the scales themselves
in 8 bits; ``int8`` keeps blocks of 256 as 8-bit codes (bitsandbytes, on CPU and GPU). ``fp8`` keeps
float8 e4m3fn (arXiv 2209.05433) and one float32 scale for each output, so that a row's largest
number meets the format's, 448; kohya's fp8_base casts without a scale and loses what is smaller
than 2^-9. A layer's weight is computed back for each product, forward and backward, never kept.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from renma.adapters._product import product

Storage = Literal["fp8", "int8", "nf4", "fp4"]
FLOAT8 = torch.float8_e4m3fn
BLOCKS = (".transformer_blocks.", "encoder.layers.")
"""Where a part's linear layers are replaced: U-Net, text encoder."""
ENDS = ("conv_in", "conv_out")


class Codes:
    """A weight in few bits.

    Args:
        weight: the weight, of any shape with the outputs first.
        storage: ``fp8``, ``int8``, ``nf4`` or ``fp4``.
    """

    def __init__(self, weight: Tensor, storage: Storage) -> None:
        self.storage: Storage = storage
        self.shape = weight.shape
        weight = weight.detach().float().contiguous()
        if storage == "fp8":
            rows = weight.flatten(1)
            largest = rows.abs().amax(1, keepdim=True)
            # a row of zeros needs no scale
            self.state: Any = torch.where(largest > 0, largest / torch.finfo(FLOAT8).max, 1.0)
            # as plain bytes: nothing may take them for numbers that it can multiply
            self.packed = (rows / self.state).to(FLOAT8).view(torch.uint8)
            return
        from bitsandbytes import functional as bnb

        if storage == "int8":
            self.packed, self.state = bnb.quantize_blockwise(weight, blocksize=256)
        else:
            self.packed, self.state = bnb.quantize_4bit(
                weight, blocksize=64, compress_statistics=True, quant_type=storage
            )

    def restored(self, packed: Tensor, dtype: torch.dtype) -> Tensor:
        """Returns the weight that the codes ``packed`` stand for."""
        if self.storage == "fp8":
            # in float32: a small row's scale has only few bits left in float16, or none
            weight = packed.view(FLOAT8).float().mul_(self.state)
            return weight.reshape(self.shape).to(dtype)
        from bitsandbytes import functional as bnb

        given: Any = packed
        if self.storage == "int8":
            weight = bnb.dequantize_blockwise(given, self.state)
        else:
            weight = bnb.dequantize_4bit(given, self.state)
        return weight.reshape(self.shape).to(dtype)

    def to(self, device: torch.device) -> None:
        """Moves the scales."""
        moved = self.state.to(device)
        if self.storage == "fp8":
            self.state = moved

    def scales(self) -> list[Tensor]:
        """Returns the tensors kept beside the codes."""
        if self.storage == "fp8":
            return [self.state]
        nested = getattr(self.state.state2, "absmax", None)
        return [t for t in (self.state.absmax, nested) if t is not None]


class _Quantized(nn.Module):
    """What a linear layer and a convolution with a weight in few bits share."""

    codes: Codes
    weight: Any
    bias: Any

    def _keep(self, layer: nn.Module, storage: Storage) -> None:
        weight: Any = layer.weight
        self.codes, self.shape, self.dtype = Codes(weight, storage), weight.shape, weight.dtype
        self.storage: Storage = storage
        del self.weight
        self.register_buffer("weight", self.codes.packed)
        del self.codes.packed
        bias: Any = layer.bias
        self.bias = None if bias is None else nn.Parameter(bias.detach(), requires_grad=False)

    def dequantized(self, dtype: torch.dtype) -> Tensor:
        """Returns the weight in the layer's shape, computed back for the moment."""
        return self.codes.restored(self.weight, dtype)

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        """Moves the scales together with the codes; neither changes its precision."""
        device = fn(torch.empty(0, device=self.weight.device)).device
        super()._apply(lambda t: t.to(device), recurse)
        self.codes.to(device)
        return self

    def stored_bytes(self) -> int:
        """Returns the bytes of codes and scales."""
        return sum(t.nbytes for t in (self.weight, *self.codes.scales()))

    def _product(self, x: Tensor, weight: Tensor) -> Tensor:
        raise NotImplementedError

    def _back(self, grad: Tensor, shape: torch.Size, weight: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, input: Tensor) -> Tensor:
        """Returns the layer's output; nothing is kept for the backward pass."""
        return _Frozen.apply(input, self)


class QuantizedLinear(_Quantized, nn.Linear):
    """A frozen linear layer whose weight is stored in few bits.

    Args:
        layer: the layer to be replaced.
        storage: ``fp8``, ``int8``, ``nf4`` or ``fp4``.
    """

    def __init__(self, layer: nn.Linear, storage: Storage) -> None:
        # on the meta device: no weight is allocated that would be thrown away
        nn.Linear.__init__(self, layer.in_features, layer.out_features, device="meta")
        self._keep(layer, storage)

    def _product(self, x: Tensor, weight: Tensor) -> Tensor:
        return product(x, weight, None if self.bias is None else self.bias.to(x.dtype))

    def _back(self, grad: Tensor, shape: torch.Size, weight: Tensor) -> Tensor:
        return product(grad, weight.t()).reshape(shape)


class QuantizedConv2d(_Quantized, nn.Conv2d):
    """A frozen convolution whose weight is stored in few bits.

    Args:
        layer: the layer to be replaced.
        storage: ``fp8``, ``int8``, ``nf4`` or ``fp4``.
    """

    def __init__(self, layer: nn.Conv2d, storage: Storage) -> None:
        nn.Conv2d.__init__(
            self, layer.in_channels, layer.out_channels, layer.kernel_size,  # pyright: ignore
            layer.stride, layer.padding, layer.dilation, layer.groups, device="meta",  # pyright: ignore
        )  # fmt: skip
        self._keep(layer, storage)

    def _product(self, x: Tensor, weight: Tensor) -> Tensor:
        bias = None if self.bias is None else self.bias.to(x.dtype)
        geometry: Any = (self.stride, self.padding, self.dilation, self.groups)
        return functional.conv2d(x, weight, bias, *geometry)

    def _back(self, grad: Tensor, shape: torch.Size, weight: Tensor) -> Tensor:
        like = grad.new_empty(1).expand(shape)  # only its shape is asked for
        geometry: Any = (self.stride, self.padding, self.dilation, False, [0, 0], self.groups)
        return torch.ops.aten.convolution_backward(
            grad, like, weight, None, *geometry, [True, False, False]
        )[0]


class _Frozen(torch.autograd.Function):
    """A layer with a frozen weight that is computed back in both directions."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: _Quantized) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Returns the layer's output."""
        ctx.layer, ctx.shape = layer, x.shape
        return layer._product(x, layer.dequantized(x.dtype))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        """Gradient to x."""
        (grad,) = grads
        return ctx.layer._back(grad, ctx.shape, ctx.layer.dequantized(grad.dtype)), None


def wanted(path: str, layer: nn.Module, storage: Storage) -> bool:
    """Says whether a layer is replaced.

    Linear layers inside transformer blocks are; in ``fp8``, a milder loss, the convolutions and
    projections around them too, but not the ends. Time embeddings and norms are small or sensitive.

    Args:
        path: the layer's path in its part.
        layer: the layer.
        storage: ``fp8``, ``int8``, ``nf4`` or ``fp4``.
    """
    if type(layer) is nn.Linear and any(block in path for block in BLOCKS):
        return True
    inside = "." in path and not path.startswith(("time_embedding.", "add_embedding."))
    known = type(layer) is nn.Linear or (
        type(layer) is nn.Conv2d and layer.padding_mode == "zeros" and path not in ENDS
    )
    return storage == "fp8" and known and inside


def quantize_layer(layer: nn.Module, storage: Storage) -> QuantizedLinear | QuantizedConv2d:
    """Returns what stands in for a frozen layer, on the same device.

    Args:
        layer: a linear layer or a convolution that :func:`wanted` accepts.
        storage: ``fp8``, ``int8``, ``nf4`` or ``fp4``.
    """
    if isinstance(layer, nn.Linear):
        return QuantizedLinear(layer, storage)
    assert isinstance(layer, nn.Conv2d)
    return QuantizedConv2d(layer, storage)


def quantize(root: nn.Module, storage: Storage) -> int:
    """Replaces the layers of a U-Net or text encoder that :func:`wanted` names.

    Returns:
        How many layers were replaced.
    """
    # names only: a list of layers would keep every one in memory until the last is replaced
    found = [path for path, m in root.named_modules() if wanted(path, m, storage)]
    for path in found:
        parent, _, name = path.rpartition(".")
        layer = quantize_layer(root.get_submodule(path), storage)
        setattr(root.get_submodule(parent), name, layer)
    return len(found)
