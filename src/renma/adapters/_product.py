"""Matrix products in float32 on a CPU, by oneDNN where it is the faster library.

torch gives float32 products to MKL, which uses half of the vector width on processors of other
makers than Intel; oneDNN takes the same matrices as they lie and asks the processor what it can.
Sums are taken in another order, so results differ in the last digit or two.
"""

from __future__ import annotations

import platform
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

LEAST_WORK = 2**20
"""Multiplications below which finding the routine takes longer than it saves."""
LEAST_ROWS = 8
ONEDNN = platform.machine().lower() in {"x86_64", "amd64"} and torch.backends.mkldnn.is_available()
"""Whether torch has oneDNN, for x86."""


def knows(x: Tensor) -> bool:
    """Says whether oneDNN is there for a tensor's device and precision."""
    if not (ONEDNN and x.device.type == "cpu" and torch.backends.mkldnn.enabled):
        return False
    half = x.dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return x.dtype == torch.float32 or half


def pays(x: Tensor, weight: Tensor) -> bool:
    """Says whether oneDNN computes ``x W^T``: in float32, for in bfloat16 torch asks it anyway."""
    if not (x.dtype == weight.dtype == torch.float32 and x.device == weight.device and knows(x)):
        return False
    rows = x.numel() // max(1, x.shape[-1])
    return rows >= LEAST_ROWS and rows * weight.numel() >= LEAST_WORK


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Returns x W^T + b, without gradient.

    Args:
        x: (..., inputs), of any strides.
        weight: (outputs, inputs), of any strides.
        bias: (outputs,) or None.
    """
    if not pays(x, weight):
        return functional.linear(x, weight, bias)
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Returns what ``functional.linear`` does, with gradients to all of its arguments."""
    if not pays(x, weight) or torch.is_autocast_enabled(x.device.type):
        return functional.linear(x, weight, bias)
    return _Linear.apply(x, weight, bias)


class _Linear(torch.autograd.Function):
    """The layer's three products; keeps x only for a trained weight."""

    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None
    ) -> Tensor:
        """Returns x W^T + b."""
        for_x, for_weight, _ = ctx.needs_input_grad
        ctx.save_for_backward(x if for_weight else None, weight if for_x else None)
        return product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients to x, W and b."""
        x, weight = ctx.saved_tensors
        (grad,) = grads
        to_x = product(grad, weight.t()) if weight is not None else None
        flat = grad.flatten(0, -2)
        to_weight = product(flat.t(), x.flatten(0, -2).t()) if x is not None else None
        return to_x, to_weight, flat.sum(0) if ctx.needs_input_grad[2] else None
