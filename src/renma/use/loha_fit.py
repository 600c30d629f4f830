"""LoHa factors of a given matrix: D ~ (A1 B1) o (A2 B2), by alternating least squares.

With three of the four factors fixed, each row of the fourth is an ordinary least-squares problem
of ``rank`` unknowns, so every sweep lowers ||D - result||. There is no closed form: the result
depends on the start, and its error is measured. The start is the best LoRA of the same rank times
a matrix of ones, so the fit is never worse than that LoRA.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from renma.engine.low_rank import Factors
from renma.use.layer_update import Layer

MOST = 64
"""Highest rank: a sweep needs (outputs + columns) * rank^2 numbers."""
_SWEEPS = 12
_SETTLED = 1e-3
"""Sweeps end when the error falls by less than this share of itself."""
_RIDGE = 1e-7
"""Share of the diagonal added to it: a column of zeros has no solution otherwise."""
_SPREAD = 0.3
"""Deviation of the second product's further ranks at the start; zeros would stay zeros."""


@dataclass(frozen=True, slots=True)
class Loha:
    """Two products, and ||D - their elementwise product|| / ||D||."""

    first: Factors
    second: Factors
    error: float


def fit(matrix: Tensor, start: Factors, seed: int) -> Loha:
    """Returns LoHa factors of a matrix.

    Args:
        matrix: (outputs, columns) float32, not all zero.
        start: its best LoRA of the wanted rank.
        seed: of the second product's random start.
    """
    best = _measured(matrix, start, _ones(start, 0.0, seed))
    first, second = start, _ones(start, _SPREAD, seed)
    for _ in range(_SWEEPS):
        first = _solved(matrix, first, second.product())
        second = _solved(matrix, second, first.product())
        found, before = _measured(matrix, first, second), best.error
        best = min(best, found, key=lambda loha: loha.error)
        if found.error > before * (1 - _SETTLED):
            break
    return best


def loha_layer(loha: Loha, dtype: torch.dtype) -> Layer:
    """Returns a file's LoHa layer, alpha = rank; both products about equally large."""
    norms = [p.up.norm() * p.down.norm() for p in (loha.first, loha.second)]
    ratio = float((norms[1] / norms[0].clamp_min(1e-30)).sqrt())
    layer: Layer = {"alpha": torch.tensor(float(loha.first.rank)).to(dtype)}
    for number, (part, factor) in enumerate(
        [(loha.first, ratio), (loha.second, 1 / ratio)], start=1
    ):
        layer[f"hada_w{number}_a"] = (part.up * factor).to(dtype)
        layer[f"hada_w{number}_b"] = part.down.to(dtype)
    return layer


def _ones(like: Factors, spread: float, seed: int) -> Factors:
    """Returns a product of ones, its ranks beyond the first drawn with deviation ``spread``."""
    generator = torch.Generator().manual_seed(seed)
    # drawn on the CPU, so that every device gets the same numbers
    up = torch.randn(like.up.shape, generator=generator).to(like.up.device) * spread
    down = torch.randn(like.down.shape, generator=generator).to(like.down.device) * spread
    up[:, 0], down[0] = 1, 1
    return Factors(up, down)


def _solved(matrix: Tensor, factors: Factors, other: Tensor) -> Factors:
    """Returns the factors after one least-squares pass over each, ``other`` held fixed."""
    up = _rows(matrix, other, factors.down)
    down = _rows(matrix.t(), other.t(), up.t())
    return Factors(up, down.t().contiguous())


def _rows(matrix: Tensor, other: Tensor, basis: Tensor) -> Tensor:
    """Returns X (rows, rank) that minimises ||matrix - (X basis) o other||, row by row."""
    rank = basis.shape[0]
    pairs = (basis[:, None] * basis[None]).reshape(rank * rank, -1)  # (rank^2, columns)
    gram = (other.square() @ pairs.t()).reshape(-1, rank, rank).double()
    ridge = gram.diagonal(dim1=1, dim2=2).mean(1).clamp_min(1e-30) * _RIDGE
    gram += ridge[:, None, None] * torch.eye(rank, dtype=gram.dtype, device=gram.device)
    right = ((matrix * other) @ basis.t()).double()
    return torch.linalg.solve(gram, right[:, :, None])[:, :, 0].float()


def _measured(matrix: Tensor, first: Factors, second: Factors) -> Loha:
    left = matrix - first.product() * second.product()
    return Loha(first, second, (left.norm() / matrix.norm()).item())
