"""LoKr: W' = W + scale w1 (x) w2, a Kronecker product of a small and a large factor.

LyCORIS (arXiv 2309.14859): each side of the weight is split in two, w1 (out1, in1) takes the slow
index, w2 (out2, in2[, k, k]) the fast one; either can be a product of two thin matrices. If both
are whole, the scale is 1 and alpha means nothing. Files hold a thin w2_b flattened over the kernel
(rank, in2 k k); Tucker files (lokr_t2, w2_a (rank, out2), w2_b (rank, in2)) are read, and written
with w2 whole, because hardly any program loads that form.

No Kronecker product is built in lower precision: (w1 (x) w2) x applies w2 to the last index of x
and mixes the first with w1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from renma.adapters import _base
from renma.adapters._additive import Additive, dora_of, magnitudes
from renma.config.adapter import LoKr, scale, stored_alpha
from renma.config.estimate import factorization

SUFFIXES = frozenset({"lokr_w1", "lokr_w1_a", "lokr_w2", "lokr_w2_a"})


@dataclass(frozen=True)
class Split:
    """Sizes of the two factors.

    Attributes:
        out1, in1: of w1.
        out2, in2: of w2, the kernel apart.
        rank1, rank2: of thin factors; 0 where a factor is whole.
    """

    out1: int
    in1: int
    out2: int
    in2: int
    rank1: int
    rank2: int

    @classmethod
    def of(cls, spec: _base.LayerSpec, config: LoKr) -> Split:
        """Returns LyCORIS' split of a layer."""
        out1, out2 = factorization(spec.outputs, config.factor)
        in1, in2 = factorization(spec.inputs // spec.groups, config.factor)
        rank = config.rank
        thin1 = config.decompose_both and not config.full_matrix and rank < max(out1, in1) / 2
        thin2 = not config.full_matrix and rank < max(out2, in2) / 2
        return cls(out1, in1, out2, in2, rank if thin1 else 0, rank if thin2 else 0)

    @classmethod
    def of_file(cls, spec: _base.LayerSpec, tensors: Mapping[str, Tensor]) -> Split:
        """Returns the split that a file's tensors have; libraries differ in theirs.

        Raises:
            ValueError: a factor is missing, or the sizes do not multiply to the layer's.
        """
        out1, in1, rank1 = _sizes(tensors, "lokr_w1", 1)
        tucker = "lokr_t2" in tensors
        out2, in2, rank2 = _sizes(tensors, "lokr_w2", 1 if tucker else spec.taps)
        if tucker:
            out2, in2 = (tensors[f"lokr_w2_{x}"].shape[1] for x in "ab")
        found = cls(out1, in1, out2, in2, rank1, 0 if tucker else rank2)
        if (out1 * out2, in1 * in2) != (spec.outputs, spec.inputs // spec.groups):
            raise ValueError(f"factors {found} do not fit a layer of shape {spec.weight_shape}")
        return found


class Adapter(Additive):
    """Kronecker product of two factors.

    Args:
        split: sizes of the factors, where a file has other ones than ``config`` gives.
    """

    def __init__(
        self,
        spec: _base.LayerSpec,
        config: LoKr,
        generator: torch.Generator,
        split: Split | None = None,
    ) -> None:
        super().__init__(spec, config)
        self.rank_dropout = config.rank_dropout
        self.split = s = split or Split.of(spec, config)
        self.rank = config.rank
        both_whole = not (s.rank1 or s.rank2)
        self.scale = 1.0 if both_whole else scale(config.rank, stored_alpha(config))

        def drawn(*shape: int) -> nn.Parameter:
            return nn.Parameter(_base.uniform((shape[0], shape[1]), shape[1], generator))

        wide = s.in2 * spec.taps
        if s.rank1:
            self.w1_a, self.w1_b = drawn(s.out1, s.rank1), drawn(s.rank1, s.in1)
        else:
            self.w1 = drawn(s.out1, s.in1)
        if s.rank2:
            self.w2_a = drawn(s.out2, s.rank2)
            self.w2_b = nn.Parameter(torch.zeros(s.rank2, wide))
        else:
            self.w2 = nn.Parameter(torch.zeros(s.out2, wide))

    @classmethod
    def of_file(cls, spec: _base.LayerSpec, tensors: Mapping[str, Tensor], config: LoKr) -> Adapter:
        """Returns an adapter with the sizes of a file's tensors."""
        split = Split.of_file(spec, tensors)
        return cls(spec, config, torch.Generator(), split)

    def parts(self) -> tuple[Tensor, ...]:
        """Returns w1 (out1, in1), and w2 (out2, in2 * kernel) or its two thin factors."""
        s = self.split
        first = self.w1_a @ self.w1_b if s.rank1 else self.w1
        if not s.rank2:
            return first, self.w2
        thin = self.w2_a
        if self.chance is not None and self.rank_dropout:
            thin = thin * self.kept("rank", self.rank_dropout, (s.rank2,), thin)
        return first, thin, self.w2_b

    def update(self, *parts: Tensor) -> Tensor:
        """Returns scale * w1 (x) w2."""
        return _kron(parts[0], parts[1:]) * self.scale

    def changed(
        self,
        x: Tensor,
        base: Callable[[Tensor], Tensor],
        layer: nn.Module,
        strength: _base.Strength,
    ) -> Tensor:
        """Returns the changed layer's output; the factors' gradients never need W's."""
        dropping = self.chance is not None and bool(self.dropout)
        if (
            self.magnitude is not None
            or self.diff_b is not None
            or self.spec.kind != "linear"
            or isinstance(strength, Tensor)
            or dropping
        ):
            return super().changed(x, base, layer, strength)
        weight: Any = layer.weight
        bias = _base.bias_of(layer)
        whole = _base.owns(base, layer) and _base.is_wide(x.dtype, weight.dtype)
        factor = self.scale * strength
        if whole:
            return _Kron.apply(x, weight, bias, factor, *self.parts())
        return base(x) + _Kron.apply(x, None, None, factor, *self.parts())

    def low_rank(self) -> tuple[Tensor, Tensor] | None:
        """Returns the exact LoRA of rank in1 * rank of w2, where that is below the layer's own."""
        s = self.split
        rank = s.in1 * s.rank2
        small = 0 < rank < min(self.spec.outputs, self.spec.columns)
        if self.magnitude is not None or self.diff_b is not None or not small:
            return None
        first = self.w1_a @ self.w1_b if s.rank1 else self.w1
        up = torch.kron(first, self.w2_a) * self.scale
        down = torch.kron(torch.eye(s.in1, dtype=first.dtype, device=first.device), self.w2_b)
        return up.detach(), down.detach()

    def scalable(self) -> list[nn.Parameter]:
        """Returns the trained factors."""
        names = ("w1", "w1_a", "w1_b", "w2", "w2_a", "w2_b")
        return [getattr(self, name) for name in names if hasattr(self, name)]

    def fast_parameters(self) -> list[nn.Parameter]:
        """Returns the factor that starts at zero."""
        return [self.w2_b if self.split.rank2 else self.w2]

    def tensors(self) -> dict[str, Tensor]:
        """Returns lokr_w1 (or its two factors), lokr_w2 (or its two) and alpha."""
        found = {}
        for name in ("w1", "w1_a", "w1_b", "w2", "w2_a", "w2_b"):
            if hasattr(self, name):
                found[f"lokr_{name}"] = getattr(self, name).detach()
        if "lokr_w2" in found and self.spec.kind == "conv2d":
            shape = (self.split.out2, self.split.in2, *self.spec.kernel)
            found["lokr_w2"] = found["lokr_w2"].reshape(shape)
        found["alpha"] = torch.tensor(self.scale * self.rank)
        return found | self.other_tensors()

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes the factors and alpha from a file; a Tucker w2 is multiplied out."""
        stored = dict(tensors)
        rank = rank_of(tensors)
        alpha = tensors.get("alpha")
        self.scale = scale(rank, float(alpha) if alpha is not None else 0.0) if rank else 1.0
        self.rank = rank or max(1, round(float(alpha)) if alpha is not None else self.rank)
        if "lokr_t2" in tensors:
            core, a, b = (tensors[f"lokr_{name}"] for name in ("t2", "w2_a", "w2_b"))
            stored["lokr_w2"] = torch.einsum("ijhw,io,jc->ochw", core, a, b)
        for name in ("w1", "w1_a", "w1_b", "w2", "w2_a", "w2_b"):
            if hasattr(self, name):
                parameter = getattr(self, name)
                value = _base.take(stored, f"lokr_{name}", tuple(parameter.shape))
                parameter.data.copy_(value)
        self.load_others(tensors)


class _Kron(torch.autograd.Function):
    """x (W + s w1 (x) w2)^T + b, or without W the update alone; keeps x and the factors.

    x is seen as (tokens, in1, in2): w2, or its thin factors one after the other, acts on the last
    index, w1 mixes the middle one. What the factors' gradients need is built again from x; the
    gradient of the whole weight is never built.
    """

    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        factor: float,
        first: Tensor,
        *second: Tensor,
    ) -> Tensor:
        """Returns the output (batch, ..., outputs)."""
        ctx.save_for_backward(x, weight, first, *second)
        ctx.factor = factor
        if weight is not None:
            return functional.linear(x, weight + _kron(first, second) * factor, bias)
        split = x.reshape(-1, first.shape[1], x.shape[-1] // first.shape[1])
        inner = first.to(x.dtype) @ _through(split, second[1:])
        out = inner @ (second[0].to(x.dtype) * factor).t()
        return out.reshape(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients to x and to all factors."""
        x, weight, first, *second = ctx.saved_tensors
        w1, left = first.to(x.dtype), second[0].to(x.dtype) * ctx.factor
        split = x.reshape(-1, w1.shape[1], x.shape[-1] // w1.shape[1])  # (tokens, in1, in2)
        grad = grads[0].reshape(len(split), w1.shape[0], -1)  # (tokens, out1, out2)
        back = grad @ left  # (tokens, out1, rank or in2)
        mixed_back = w1.t() @ back  # (tokens, in1, rank or in2)
        inner = _through(split, second[1:])
        to_x = None
        if ctx.needs_input_grad[0]:
            if weight is not None:
                to_x = grads[0] @ (weight + _kron(first, second) * ctx.factor)
            else:
                whole = mixed_back @ second[1].to(x.dtype) if len(second) > 1 else mixed_back
                to_x = whole.reshape(x.shape)
        to_first = torch.bmm(back, inner.transpose(1, 2)).sum(0).to(first.dtype)
        mixed = (w1 @ inner).flatten(0, 1)
        to_left = (grad.flatten(0, 1).t() @ mixed).to(first.dtype) * ctx.factor
        if len(second) == 1:
            return to_x, None, None, None, to_first, to_left
        to_right = (mixed_back.flatten(0, 1).t() @ split.flatten(0, 1)).to(first.dtype)
        return to_x, None, None, None, to_first, to_left, to_right


def _through(split: Tensor, thin: Sequence[Tensor]) -> Tensor:
    """Returns x after the right thin factor of w2, if there is one."""
    return split @ thin[0].to(split.dtype).t() if thin else split


def _kron(first: Tensor, second: Sequence[Tensor]) -> Tensor:
    """Returns w1 (x) w2 as a matrix, w2 whole or as two thin factors."""
    return torch.kron(first, second[0] @ second[1] if len(second) == 2 else second[0])


def rank_of(tensors: Mapping[str, Tensor]) -> int:
    """Returns the rank that alpha is divided by; 0 where both factors are whole."""
    for name in ("lokr_w2_b", "lokr_w1_b"):
        if name in tensors:
            return tensors[name].shape[0]
    return 0


def _sizes(tensors: Mapping[str, Tensor], name: str, taps: int) -> tuple[int, int, int]:
    """Returns outputs, inputs and rank (0: whole) of a factor."""
    if name in tensors:
        return tensors[name].shape[0], tensors[name].shape[1], 0
    try:
        a, b = tensors[f"{name}_a"], tensors[f"{name}_b"]
    except KeyError as error:
        raise ValueError(f"{error.args[0]} is missing") from None
    return a.shape[0], b.numel() // b.shape[0] // taps, b.shape[0]


def parameters(spec: _base.LayerSpec, config: LoKr) -> int:
    """Returns how many numbers are trained: both factors, and DoRA's."""
    s = Split.of(spec, config)
    wide = s.in2 * spec.taps
    first = s.rank1 * (s.out1 + s.in1) if s.rank1 else s.out1 * s.in1
    second = s.rank2 * (s.out2 + wide) if s.rank2 else s.out2 * wide
    return first + second + magnitudes(spec, config.dora)


def config_of(tensors: Mapping[str, Tensor]) -> LoKr:
    """Returns rank, alpha and DoRA's side as the tensors of one layer tell them.

    Raises:
        ValueError: a factor is missing.
    """
    rank, alpha = rank_of(tensors), tensors.get("alpha")
    out1, _, _ = _sizes(tensors, "lokr_w1", 1)
    out2, _, _ = _sizes(tensors, "lokr_w2", 1)
    if "lokr_t2" in tensors:
        out2 = tensors["lokr_w2_a"].shape[1]
    return LoKr(
        rank=rank or 1,
        alpha=float(alpha) if alpha is not None and rank else 0.0,
        full_matrix=not rank,
        decompose_both="lokr_w1_a" in tensors,
        dora=dora_of(tensors, out1 * out2),
    )
