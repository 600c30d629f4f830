"""LoHa: W' = W + (alpha / rank) (A1 B1) o (A2 B2), the product of two low-rank products.

FedPara (arXiv 2108.06098) as LyCORIS writes it: hada_w1_a (outputs, rank), hada_w1_b (rank,
columns). Tucker form for 3x3 convolutions: hada_t1 (rank, rank, k, k), hada_w1_a (rank, outputs),
hada_w1_b (rank, inputs). The update's rank reaches rank squared.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from renma.adapters import _base
from renma.adapters._additive import Additive, dora_of, magnitudes
from renma.config.adapter import LoHa, scale, stored_alpha

SUFFIXES = frozenset({"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"})


class Adapter(Additive):
    """Hadamard product of two low-rank products."""

    def __init__(self, spec: _base.LayerSpec, config: LoHa, generator: torch.Generator) -> None:
        super().__init__(spec, config)
        self.rank, self.rank_dropout = config.rank, config.rank_dropout
        self.scale = scale(config.rank, stored_alpha(config))
        rank, tucker = config.rank, config.tucker and spec.taps > 1

        def drawn(*shape: int, deviation: float) -> nn.Parameter:
            return nn.Parameter(torch.empty(shape).normal_(0, deviation, generator=generator))

        outputs = (rank, spec.outputs) if tucker else (spec.outputs, rank)
        columns = spec.inputs // spec.groups if tucker else spec.columns
        self.w1_a = drawn(*outputs, deviation=0.1)
        self.w1_b = drawn(rank, columns, deviation=1.0)
        self.w2_a = nn.Parameter(torch.zeros(outputs))
        self.w2_b = drawn(rank, columns, deviation=1.0)
        self.t1 = drawn(rank, rank * spec.taps, deviation=0.1) if tucker else None
        self.t2 = drawn(rank, rank * spec.taps, deviation=0.1) if tucker else None

    def parts(self) -> tuple[Tensor, ...]:
        """Returns the first product, and the factors of the second.

        The first is kept for the backward pass and the second built again there: as much memory
        as other implementations need, a quarter less work than building both again.
        """
        first, second = self._halves()
        return self._product(*first), *second

    def bare_parts(self) -> tuple[Tensor, ...]:
        """Returns the factors of both products."""
        first, second = self._halves()
        return *first, *second

    def update(self, *parts: Tensor) -> Tensor:
        """Returns scale * (A1 B1) o (A2 B2)."""
        size = 2 if self.t1 is None else 3
        before, second = parts[:-size], parts[-size:]
        first = before[0] if len(before) == 1 else self._product(*before)
        return first * self._product(*second) * self.scale

    def _halves(self) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Returns the factors of each product, with this step's ranks left out."""
        w1_a, w2_a = self.w1_a, self.w2_a
        if self.chance is not None and self.rank_dropout:
            # a mask for each product: with one for both, its inverse share would count twice
            shape = (self.rank, 1) if self.t1 is not None else (self.rank,)
            w1_a = w1_a * self.kept("rank 1", self.rank_dropout, shape, w1_a)
            w2_a = w2_a * self.kept("rank 2", self.rank_dropout, shape, w2_a)
        if self.t1 is None or self.t2 is None:
            return (w1_a, self.w1_b), (w2_a, self.w2_b)
        return (self.t1, w1_a, self.w1_b), (self.t2, w2_a, self.w2_b)

    def _product(self, *factors: Tensor) -> Tensor:
        if len(factors) == 2:
            return factors[0] @ factors[1]
        core, a, b = factors
        core = core.reshape(self.rank, self.rank, *self.spec.kernel)
        return torch.einsum("ijhw,io,jc->ochw", core, a, b).flatten(1)

    def low_rank(self) -> tuple[Tensor, Tensor] | None:
        """Returns the exact LoRA of rank squared, where that is below the layer's own rank."""
        rank = self.rank
        small = rank**2 < min(self.spec.outputs, self.spec.columns)
        plain = self.t1 is None and self.magnitude is None and self.diff_b is None
        if not (plain and small):
            return None
        up = (self.w1_a[:, :, None] * self.w2_a[:, None, :]).reshape(-1, rank**2)
        down = (self.w1_b[:, None, :] * self.w2_b[None, :, :]).reshape(rank**2, -1)
        return up.detach() * self.scale, down.detach()

    def scalable(self) -> list[nn.Parameter]:
        """Returns the trained factors."""
        found = [self.w1_a, self.w1_b, self.w2_a, self.w2_b, self.t1, self.t2]
        return [factor for factor in found if factor is not None]

    def fast_parameters(self) -> list[nn.Parameter]:
        """Returns the factor that starts at zero."""
        return [self.w2_a]

    def tensors(self) -> dict[str, Tensor]:
        """Returns hada_w1_a, hada_w1_b, hada_w2_a, hada_w2_b (hada_t1, hada_t2) and alpha."""
        found = {f"hada_{name}": getattr(self, name) for name in ("w1_a", "w1_b", "w2_a", "w2_b")}
        for name in ("t1", "t2"):
            if (core := getattr(self, name)) is not None:
                found[f"hada_{name}"] = core.reshape(self.rank, self.rank, *self.spec.kernel)
        found["alpha"] = torch.tensor(self.scale * self.rank)
        return {name: t.detach() for name, t in found.items()} | self.other_tensors()

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes the factors and alpha from a file; a missing alpha means alpha = rank."""
        for name in ("w1_a", "w1_b", "w2_a", "w2_b", "t1", "t2"):
            parameter = getattr(self, name)
            if parameter is not None:
                stored = _base.take(tensors, f"hada_{name}", tuple(parameter.shape))
                parameter.data.copy_(stored)
        self.load_others(tensors)
        self.scale = _base.scale_of(tensors, self.rank)


def parameters(spec: _base.LayerSpec, config: LoHa) -> int:
    """Returns how many numbers are trained: twice those of LoRA, and DoRA's."""
    rank, others = config.rank, magnitudes(spec, config.dora)
    if config.tucker and spec.taps > 1:
        inputs = spec.inputs // spec.groups
        return 2 * (rank * (inputs + spec.outputs) + rank**2 * spec.taps) + others
    return 2 * rank * (spec.columns + spec.outputs) + others


def config_of(tensors: Mapping[str, Tensor]) -> LoHa:
    """Returns rank, alpha and form as the tensors of one layer tell them.

    Raises:
        ValueError: the factors are missing.
    """
    first, second = tensors.get("hada_w1_a"), tensors.get("hada_w1_b")
    if first is None or second is None or second.dim() < 2:
        raise ValueError("hada_w1_a or hada_w1_b is missing or no matrix")
    rank, alpha, tucker = second.shape[0], tensors.get("alpha"), "hada_t1" in tensors
    return LoHa(
        rank=rank,
        alpha=float(alpha) if alpha is not None else float(rank),
        tucker=tucker,
        dora=dora_of(tensors, first.shape[1 if tucker else 0]),
    )
