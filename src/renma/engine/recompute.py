"""Activations that backward computes again instead of keeping: cheap ones, elementwise.

A residual block keeps the input of each norm, not the norm's output nor that of SiLU; a gated
feed-forward keeps the projection, not its halves' products. Convolutions with frozen weights
keep no input (:mod:`renma.engine.frozen_conv`), so nothing else holds what is left out here.
"""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from renma.engine.attach import hosted


def install(root: nn.Module) -> int:
    """Lets residual blocks and gated feed-forwards keep less; returns how many do."""
    count = 0
    for module in root.modules():
        stand_in = _stand_in(module)
        if stand_in is not None and "forward" not in vars(module):
            vars(module)["forward"] = MethodType(stand_in, module)
            count += 1
    return count


def remove(root: nn.Module) -> None:
    """Gives the modules their own forward back."""
    for module in root.modules():
        own = vars(module).get("forward")
        if getattr(own, "__func__", None) in {_residual, _gated}:
            del vars(module)["forward"]


def _stand_in(module: Any) -> Any:
    from diffusers.models.activations import GEGLU
    from diffusers.models.resnet import ResnetBlock2D

    if type(module) is GEGLU:
        return _gated
    if type(module) is not ResnetBlock2D or not isinstance(module.nonlinearity, nn.SiLU):
        return None
    plain = module.time_embedding_norm == "default" and module.time_emb_proj is not None
    same_size = module.upsample is None and module.downsample is None
    return _residual if plain and same_size and not module.skip_time_act else None


def _residual(block: Any, input_tensor: Tensor, temb: Tensor) -> Tensor:
    """What diffusers' ResnetBlock2D does, with norms and activations computed again."""
    hidden = block.conv1(norm_silu(block.norm1, input_tensor))
    hidden = hidden + block.time_emb_proj(functional.silu(temb))[:, :, None, None]
    hidden = block.conv2(block.dropout(norm_silu(block.norm2, hidden)))
    if block.conv_shortcut is not None:
        input_tensor = block.conv_shortcut(input_tensor)
    total = input_tensor + hidden
    return total if block.output_scale_factor == 1 else total / block.output_scale_factor


def _gated(block: Any, hidden_states: Tensor) -> Tensor:
    """What diffusers' GEGLU does; only the projection is kept."""
    return _Gated.apply(block.proj(hidden_states))


def norm_silu(norm: nn.GroupNorm, x: Tensor) -> Tensor:
    """Returns silu(norm(x)), keeping x alone; a trained or adapted norm runs as it always does."""
    trained = norm.weight.requires_grad or norm.bias.requires_grad or hosted(norm)
    mixed = x.dtype != norm.weight.dtype or torch.is_autocast_enabled(x.device.type)
    if trained or mixed or not x.requires_grad:
        return functional.silu(norm(x))
    return _NormSilu.apply(x, norm.weight, norm.bias, norm.num_groups, norm.eps)


class _NormSilu(torch.autograd.Function):
    """Group norm and SiLU with a frozen weight and bias."""

    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float
    ) -> Tensor:
        """Returns silu(norm(x))."""
        x = x.contiguous()
        normed, mean, rstd = _normed(x, weight, bias, groups, eps)
        ctx.save_for_backward(x, weight, bias, mean, rstd)
        ctx.groups, ctx.eps = groups, eps
        return functional.silu(normed, inplace=True)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Gradient to x."""
        x, weight, bias, mean, rstd = ctx.saved_tensors
        normed, _, _ = _normed(x, weight, bias, ctx.groups, ctx.eps)
        grad = torch.ops.aten.silu_backward(grads[0].contiguous(), normed)
        del normed
        batch, channels = x.shape[:2]
        to_x, _, _ = torch.ops.aten.native_group_norm_backward(
            grad, x, mean, rstd, weight, batch, channels, x[0, 0].numel(), ctx.groups,
            [True, False, False],
        )  # fmt: skip
        return to_x, None, None, None, None


def _normed(
    x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the norm's output, and mean and 1 / deviation of each group."""
    batch, channels = x.shape[:2]
    points = x[0, 0].numel()
    return torch.ops.aten.native_group_norm(x, weight, bias, batch, channels, points, groups, eps)


class _Gated(torch.autograd.Function):
    """a * gelu(b) of a projection whose last axis holds a and b."""

    @staticmethod
    def forward(ctx: Any, projected: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Returns (..., width / 2)."""
        ctx.save_for_backward(projected)
        value, gate = projected.chunk(2, dim=-1)
        return functional.gelu(gate).mul_(value)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        """Gradient to the projection."""
        (projected,) = ctx.saved_tensors
        (grad,) = grads
        value, gate = projected.chunk(2, dim=-1)
        found = torch.empty_like(projected)
        to_value, to_gate = found.chunk(2, dim=-1)
        torch.mul(grad, functional.gelu(gate), out=to_value)
        to_gate.copy_(torch.ops.aten.gelu_backward(grad * value, gate))
        return found
