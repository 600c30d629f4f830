"""Attention on a CPU from oneDNN's matrix products, a few rows of the weights at a time.

softmax(q k^T / sqrt(d)) v. torch's own kernel for CPUs takes its products from MKL, in float32 even
for bfloat16; see :mod:`renma.adapters._product`. Only q, k and v are kept: backward computes the
attention weights again, in blocks that fit a cache; each head is one thread's work. In bfloat16 the
scores and their softmax are float32 and the products around them bfloat16.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from renma.adapters._product import knows
from renma.engine.team import Team

LEAST_SCORES = 2**16
"""Scores of one head below which torch's kernel is as fast."""
BLOCK = 2**19
"""Scores of a block: 2 MiB."""


def pays(query: Tensor, key: Tensor) -> bool:
    """Says whether this is faster than torch's kernel; (batch, tokens, heads, width) each."""
    plain = query.dtype == key.dtype and not torch.is_autocast_enabled("cpu")
    return plain and knows(query) and query.shape[1] * key.shape[1] >= LEAST_SCORES


def attend(query: Tensor, key: Tensor, value: Tensor, team: Team) -> Tensor:
    """Returns the attention's output, (batch, tokens, heads, width), with gradients.

    Args:
        query: (batch, tokens, heads, width).
        key: (batch, other tokens, heads, width).
        value: like ``key``.
        team: its threads take a head each.
    """
    return _Attention.apply(query, key, value, team)


class _Attention(torch.autograd.Function):
    """Attention that keeps q, k and v."""

    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, team: Team
    ) -> Tensor:
        """Returns (batch, tokens, heads, width)."""
        ctx.save_for_backward(query, key, value)
        ctx.team = team
        out = torch.empty(query.shape, dtype=query.dtype)

        def mix(place: tuple[int, int]) -> None:
            batch, head = place
            q, k, v = (t[batch, :, head] for t in (query, key, value))
            q, k = _scores_operands(q, k)
            across = v.t().contiguous()
            for rows in _blocks(q, k):
                weights = _softmax_(_product(q[rows], k)).to(v.dtype)
                out[batch, rows, head] = _product(weights, across)

        team.do(mix, _heads(query))
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        """Gradients to q, k and v."""
        query, key, value = ctx.saved_tensors
        to_q, to_k, to_v = (torch.empty(t.shape, dtype=t.dtype) for t in (query, key, value))

        def back(place: tuple[int, int]) -> None:
            at = (place[0], slice(None), place[1])
            found = _head_backward(query[at], key[at], value[at], grads[0][at])
            to_q[at], to_k[at], to_v[at] = found

        ctx.team.do(back, _heads(query))
        return to_q, to_k, to_v, None


def _head_backward(
    query: Tensor, key: Tensor, value: Tensor, grad: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the gradients of one head, float32."""
    dtype, scale = query.dtype, query.shape[-1] ** -0.5
    q, k = _scores_operands(query, key)
    small_q, down = q.to(dtype), key.t().contiguous()
    grad, value = grad.contiguous(), value.contiguous()
    wide_grad, wide_value = grad.float(), value.float()
    to_q = torch.empty(q.shape)
    to_k, to_v = torch.zeros(k.shape[::-1]), torch.zeros(k.shape[::-1])
    for rows in _blocks(q, k):
        weights = _softmax_(_product(q[rows], k))
        to_scores = _softmax_back_(_product(wide_grad[rows], wide_value), weights).to(dtype)
        weights = weights.to(dtype)
        to_q[rows] = _product(to_scores, down)
        # transposed: oneDNN is twice as fast with the long axis as the output's last
        to_k += _product(small_q[rows].t(), to_scores.t())
        to_v += _product(grad[rows].t(), weights.t())
    return to_q.mul_(scale), to_k.t(), to_v.t()


def _scores_operands(query: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
    """Returns q / sqrt(d) and k of one head, (tokens, width) each, in float32."""
    return query.float() * query.shape[-1] ** -0.5, key.float().contiguous()


def _softmax_(scores: Tensor) -> Tensor:
    """Returns the softmax of each row, written over the scores: a block stays in the cache."""
    return torch.ops.aten._softmax.out(scores, -1, False, out=scores)


def _softmax_back_(grad: Tensor, weights: Tensor) -> Tensor:
    """Returns the gradient to the scores, written over the one to the weights."""
    back = torch.ops.aten._softmax_backward_data.out
    return back(grad, weights, -1, torch.float32, grad_input=grad)


def _heads(query: Tensor) -> list[tuple[int, int]]:
    return [(b, h) for b in range(query.shape[0]) for h in range(query.shape[2])]


def _blocks(query: Tensor, key: Tensor) -> list[slice]:
    step = max(1, BLOCK // key.shape[0])
    return [slice(start, start + step) for start in range(0, query.shape[0], step)]


def _product(x: Tensor, weight: Tensor) -> Tensor:
    """Returns x W^T."""
    return torch.ops.mkldnn._linear_pointwise.default(x, weight, None, "none", [], "")


class Processor:
    """Stands in for diffusers' attention processor where that would call torch's kernel.

    Args:
        own: diffusers' processor, which still does what is not plain attention.
        team: threads that all layers share.
    """

    def __init__(self, own: Any, team: Team) -> None:
        self.own, self.team = own, team

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        """Returns the attention layer's output, (batch, tokens, channels)."""
        given = (attn, hidden_states, encoder_hidden_states, attention_mask, temb)
        if attention_mask is not None or hidden_states.dim() != 3 or _special(attn):
            return self.own(*given)
        states = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        if hidden_states.shape[1] * states.shape[1] < LEAST_SCORES:
            return self.own(*given)
        query, key, value = (
            projected.unflatten(-1, (attn.heads, -1))
            for projected in (attn.to_q(hidden_states), attn.to_k(states), attn.to_v(states))
        )
        if pays(query, key):
            mixed = attend(query, key, value, self.team)
        else:
            turned = (t.transpose(1, 2) for t in (query, key, value))
            mixed = nn.functional.scaled_dot_product_attention(*turned).transpose(1, 2)
        out = attn.to_out[1](attn.to_out[0](mixed.flatten(2)))
        out = out + hidden_states if attn.residual_connection else out
        return out if attn.rescale_output_factor == 1 else out / attn.rescale_output_factor


def _special(attn: Any) -> bool:
    """Says whether a layer does more than project, mix and project."""
    parts = (attn.spatial_norm, attn.group_norm, attn.norm_cross, attn.norm_q, attn.norm_k)
    return any(part is not None and part is not False for part in parts)


def install(root: nn.Module) -> int:
    """Puts :class:`Processor` where diffusers' plain attention runs; returns in how many places."""
    from diffusers.models.attention_processor import Attention, AttnProcessor2_0

    found = [
        module
        for module in root.modules()
        if isinstance(module, Attention) and type(module.processor) is AttnProcessor2_0
    ]
    team = Team()
    for module in found:
        module.processor = Processor(module.processor, team)  # pyright: ignore[reportAttributeAccessIssue]
    return len(found)


def remove(root: nn.Module) -> None:
    """Puts diffusers' processors back."""
    for module in root.modules():
        if isinstance(getattr(module, "processor", None), Processor):
            own: Any = module.processor
            module.processor = own.own
