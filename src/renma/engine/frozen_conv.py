"""Convolutions with frozen weights: nothing kept but the weight, and no weight reordered twice.

oneDNN reorders a convolution's weight at every call, forward and backward; at few pixels that
takes longer than the convolution. Two remedies, chosen by shape alone so that equal runs stay
equal:

* *packed*: the reordered weight is kept, twice (the gradient to the input is a convolution with
  the kernel flipped and its channels swapped). Costs twice the weight's memory.
* *unfolded*: with few pixels, a matrix product with the weight as it lies. Costs nothing.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from renma.adapters._product import knows

LEAST_WEIGHT = 2**20
"""Numbers in a weight below which its reordering does not matter."""
MANY_PIXELS = 2**10
"""Pixels of a batch from which on a packed weight saves little."""
BIG = 2**25
"""Bytes of a weight above which its reordered copy is fresh memory at every call (glibc)."""


class FrozenConv:
    """Stands in for what ``nn.Conv2d`` does with its weight; the layer's forward stays its own.

    Args:
        layer: the convolution.
        packed: whether its weight may be kept in oneDNN's order too.
    """

    def __init__(self, layer: nn.Conv2d, packed: bool) -> None:
        self.layer, self.packed = layer, packed
        self.forward_weight: Tensor | None = None
        self.backward_weight: Tensor | None = None
        self._source: tuple[int, int] | None = None
        self.own = layer._conv_forward
        self.geometry: Any = (layer.stride, layer.padding, layer.dilation, layer.groups)

    def __call__(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Returns the convolution; a trained weight or mixed precision is left to torch."""
        trained = weight.requires_grad or (bias is not None and bias.requires_grad)
        if trained or x.dtype != weight.dtype or torch.is_autocast_enabled(x.device.type):
            return self.own(x, weight, bias)
        return _Frozen.apply(x, self, weight, bias)

    def run(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Returns the output, by the way that suits the shapes."""
        stride, padding, dilation, groups = self.geometry
        way = self._way(x, weight)
        if way == "packed":
            self._pack(weight)
            return _pointwise(x, self.forward_weight, bias, padding, stride)
        if way == "unfolded":
            return _unfolded(x, weight, bias, self.layer)
        return functional.conv2d(x, weight, bias, stride, padding, dilation, groups)

    def back(self, grad: Tensor, shape: torch.Size, weight: Tensor) -> Tensor:
        """Returns the gradient to an input of ``shape``."""
        stride, padding, dilation, groups = self.geometry
        like = grad.new_empty(1).expand(shape)  # only its shape is asked for
        way = self._way(like, weight)
        if way == "packed" and stride == (1, 1):
            self._pack(weight)
            around = [k - 1 - p for k, p in zip(self.layer.kernel_size, padding, strict=True)]
            return _pointwise(grad, self.backward_weight, None, around, stride)
        if way == "unfolded":
            columns = _product(grad.flatten(2).transpose(1, 2), weight.flatten(1).t(), None)
            geometry = (self.layer.kernel_size, dilation, padding, stride)
            return functional.fold(columns.transpose(1, 2), shape[2:], *geometry)  # pyright: ignore
        return torch.ops.aten.convolution_backward(
            grad, like, weight, None, stride, padding, dilation, False, [0, 0], groups,
            [True, False, False],
        )[0]  # fmt: skip

    def _way(self, x: Tensor, weight: Tensor) -> str:
        """Returns ``packed``, ``unfolded`` or ``plain``; depends on shapes and precision alone."""
        if not suits(self.layer, weight):
            return "plain"
        strides = self.layer.stride[0] * self.layer.stride[1]
        pixels = x.shape[0] * x.shape[2] * x.shape[3] // strides
        if self.packed and self.layer.dilation == (1, 1) and pixels <= MANY_PIXELS:
            return "packed"
        wide = x.dtype == torch.float32 or weight.nbytes > BIG
        return "unfolded" if pixels * (4 if wide else 8) <= weight.shape[0] else "plain"

    def _pack(self, weight: Tensor) -> None:
        source = (weight.data_ptr(), weight._version)
        if source == self._source:
            return
        stride, padding, dilation, groups = self.geometry
        reorder = torch.ops.mkldnn._reorder_convolution_weight
        with torch.no_grad():
            plain = weight.detach()
            self.forward_weight = reorder(plain, padding, stride, dilation, groups, [])
            if stride == (1, 1):
                swapped = plain.flip(2, 3).transpose(0, 1).contiguous()
                around = [k - 1 - p for k, p in zip(self.layer.kernel_size, padding, strict=True)]
                self.backward_weight = reorder(swapped, around, stride, dilation, groups, [])
        self._source = source


def suits(layer: nn.Conv2d, weight: Tensor) -> bool:
    """Says whether a convolution's weight is large enough to reorder, and of a kind known here."""
    plain = layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
    dense = layer.kernel_size != (1, 1) and layer.groups == 1
    return plain and dense and weight.numel() >= LEAST_WEIGHT and knows(weight)


class _Frozen(torch.autograd.Function):
    """A convolution with a frozen weight; its input is not kept."""

    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, x: Tensor, conv: FrozenConv, weight: Tensor, bias: Tensor | None
    ) -> Tensor:
        """Returns the output."""
        ctx.conv, ctx.shape = conv, x.shape
        ctx.save_for_backward(weight)
        return conv.run(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Gradient to the input."""
        (weight,) = ctx.saved_tensors
        return ctx.conv.back(grads[0], ctx.shape, weight), None, None, None


def _pointwise(x: Tensor, weight: Any, bias: Tensor | None, padding: Any, stride: Any) -> Tensor:
    return torch.ops.mkldnn._convolution_pointwise(
        x.contiguous(), weight, bias, padding, stride, [1, 1], 1, "none", [], ""
    )


def _unfolded(x: Tensor, weight: Tensor, bias: Tensor | None, layer: nn.Conv2d) -> Tensor:
    """Returns the convolution as a matrix product over the patches of ``x``."""
    geometry: Any = (layer.kernel_size, layer.dilation, layer.padding, layer.stride)
    patches = functional.unfold(x, *geometry)  # (batch, inputs * taps, pixels)
    out = _product(patches.transpose(1, 2), weight.flatten(1), bias)
    sides = [
        (side + 2 * p - d * (k - 1) - 1) // s + 1
        for side, k, d, p, s in zip(x.shape[2:], *geometry, strict=True)
    ]
    return out.transpose(1, 2).reshape(x.shape[0], -1, *sides)


def _product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
