"""A layer with a changed weight that keeps only its input and the parts of the change.

Autograd would keep the changed weight and every matrix on the way to it; these are built again
in the backward pass, at the cost of a few elementwise passes or thin matrix products.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from renma.adapters._base import LayerSpec
from renma.adapters._product import product

Build = Callable[..., Tensor]
"""Parts to change of the weight, (outputs, columns) or shaped like the weight."""


class Changed(torch.autograd.Function):
    """Runs a layer with ``weight + build(*parts)``; without ``weight``, with the change alone."""

    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any,
        spec: LayerSpec,
        build: Build,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        *parts: Tensor,
    ) -> Tensor:
        """Returns the output; ``weight`` is frozen, ``bias`` may be trained."""
        ctx.spec, ctx.build = spec, build
        bias = None if bias is None else bias.to(x.dtype)
        ctx.save_for_backward(x, weight, *parts)
        return spec.apply(x, _sum(spec, weight, build(*parts), x.dtype), bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Builds the change again and sends the weight's gradient through it."""
        spec: LayerSpec = ctx.spec
        (grad,) = grads
        x, weight, *parts = ctx.saved_tensors
        needed = ctx.needs_input_grad
        with torch.enable_grad():
            leaves = [
                part.detach().requires_grad_(wanted)
                for part, wanted in zip(parts, needed[5:], strict=True)
            ]
            change = ctx.build(*leaves)
        matrix = _sum(spec, weight, change.detach(), x.dtype)
        to_x, to_weight = _layer_backward(spec, grad, x, matrix, needed[2], any(needed[5:]))
        wanted = [leaf for leaf in leaves if leaf.requires_grad]
        found = iter(
            torch.autograd.grad(change, wanted, to_weight.reshape(change.shape).to(change.dtype))
            if to_weight is not None
            else ()
        )
        to_parts = [next(found) if leaf.requires_grad else None for leaf in leaves]
        to_bias = _bias_gradient(spec, grad) if needed[4] else None
        return (None, None, to_x, None, to_bias, *to_parts)


def _bias_gradient(spec: LayerSpec, grad: Tensor) -> Tensor:
    channels = 1 if spec.kind == "conv2d" else grad.dim() - 1
    return grad.sum([axis for axis in range(grad.dim()) if axis != channels])


def _sum(spec: LayerSpec, weight: Tensor | None, change: Tensor, dtype: torch.dtype) -> Tensor:
    change = change.reshape(spec.weight_shape)
    return (change if weight is None else weight.to(change.dtype) + change).to(dtype)


def _layer_backward(
    spec: LayerSpec, grad: Tensor, x: Tensor, weight: Tensor, for_x: bool, for_weight: bool
) -> tuple[Tensor | None, Tensor | None]:
    """Returns the gradients of a linear layer or convolution to its input and to its weight."""
    if spec.kind == "linear":
        flat = grad.flatten(0, -2).t()
        to_x = product(grad, weight.t()) if for_x else None
        to_weight = product(flat, x.flatten(0, -2).t()) if for_weight else None
        return to_x, to_weight
    to_x, to_weight, _ = torch.ops.aten.convolution_backward(
        grad, x, weight, None, spec.stride, spec.padding, spec.dilation, False, (0, 0),
        spec.groups, (for_x, for_weight, False),
    )  # fmt: skip
    return to_x, to_weight
