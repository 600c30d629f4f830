"""Low-rank matrices: sums, best approximations and their errors, without building the product.

A product ``up @ down`` of rank r has the singular value decomposition of an r x r core: with
``up = Qu Ru`` and ``down^T = Qd Rd``, the SVD ``Ru Rd^T = U S V^T`` gives ``(Qu U) S (Qd V)^T``.
That costs O((outputs + columns) r^2) where an SVD of the product costs O(outputs columns min).
Cores are computed in float64, so the results are as exact as the factors.

A difference of two weights has no factors; there a randomised range finder with subspace
iterations is used (Halko, Martinsson, Tropp, arXiv 0909.4061), and its error is measured.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Method = Literal["static", "sv_ratio", "sv_cumulative", "sv_fro"]
ZERO = 1e-6
"""A largest singular value up to this counts as an empty layer (kohya's limit)."""
_SMALL = 512
"""Matrices whose shorter side is up to this get a full SVD."""
_EXTRA = 16
"""Directions beyond the wanted rank that the range finder looks at."""
_ROUNDS = 12
"""Most subspace iterations."""
_SETTLED = 1e-6
"""Iterations end when the captured share of the squared norm grows by less than this."""


@dataclass(frozen=True, slots=True)
class Factors:
    """A matrix as ``up`` (outputs, rank) @ ``down`` (rank, columns)."""

    up: Tensor
    down: Tensor

    @property
    def rank(self) -> int:
        """Width between the factors."""
        return self.down.shape[0]

    @property
    def side(self) -> int:
        """The shorter side of the product: the highest rank it can have."""
        return min(self.up.shape[0], self.down.shape[1])

    def product(self) -> Tensor:
        """Returns the whole (outputs, columns) matrix."""
        return self.up @ self.down

    def times(self, factor: float) -> Factors:
        """Returns the matrix multiplied by a number."""
        return Factors(self.up * factor, self.down)


@dataclass(frozen=True, slots=True)
class Spectrum:
    """Singular values of a matrix, largest first, with the vectors to cut it.

    Args:
        left: (outputs, known) orthonormal columns, in ``frames`` if there are some.
        values: (known,) float64.
        right: (known, columns) orthonormal rows, in ``frames`` if there are some.
        rest: squared Frobenius norm of what the known part leaves of the matrix.
        frames: (outputs, r) and (columns, r) orthonormal columns that left and right are given in,
            so that only the vectors that are kept get their full length.
    """

    left: Tensor
    values: Tensor
    right: Tensor
    rest: float = 0.0
    frames: tuple[Tensor, Tensor] | None = None

    @property
    def norm(self) -> float:
        """Frobenius norm of the whole matrix."""
        return (self.values.square().sum().item() + self.rest) ** 0.5

    def cut(self, rank: int) -> Factors:
        """Returns the best approximation of a rank: up = U S, down = V^T (float32)."""
        up, down = self.left[:, :rank] * self.values[:rank], self.right[:rank]
        if self.frames is not None:
            up, down = self.frames[0] @ up, down @ self.frames[1].t()
        return Factors(up.float(), down.float())

    def error(self, rank: int) -> float:
        """Returns ||matrix - cut(rank)|| / ||matrix||, Frobenius; 0 for an empty matrix."""
        if self.norm <= 0:
            return 0.0
        tail = self.values[rank:].square().sum().item()
        return (tail + self.rest) ** 0.5 / self.norm


def stack(parts: Iterable[Factors]) -> Factors:
    """Returns the sum of matrices exactly: ranks side by side."""
    found = list(parts)
    up = torch.cat([part.up for part in found], dim=1)
    return Factors(up, torch.cat([part.down for part in found], dim=0))


def balanced(factors: Factors) -> Factors:
    """Returns the same product with both factors of each rank about equally long.

    Multiplied are powers of two, so nothing is rounded; half precision then loses no small
    numbers in one factor while the other has room.
    """
    up, down = factors.up.double().norm(dim=0), factors.down.double().norm(dim=1)
    ratio = torch.where((up > 0) & (down > 0), down / up.clamp_min(1e-300), torch.ones_like(up))
    power = torch.exp2((ratio.log2() / 2).round()).to(factors.up.dtype)
    return Factors(factors.up * power, factors.down / power[:, None])


def spectrum(factors: Factors) -> Spectrum:
    """Returns the exact SVD of a product by QR of both factors and the SVD of their core."""
    left, upper = torch.linalg.qr(factors.up.double())
    right, lower = torch.linalg.qr(factors.down.double().t())
    u, values, v = torch.linalg.svd(upper @ lower.t(), full_matrices=False)
    return Spectrum(u, values, v, frames=(left, right))


def spectrum_of(matrix: Tensor, rank: int, seed: int) -> Spectrum:
    """Returns the leading singular values and vectors of any (outputs, columns) matrix.

    Small matrices, and ranks that are a good part of the whole, get a full SVD; others a
    randomised one, whose ``error`` is measured against the matrix itself.

    Args:
        matrix: computed in float32 whatever its precision.
        rank: how many are wanted.
        seed: of the random directions the search starts with.
    """
    matrix = matrix.float()
    side, width = min(matrix.shape), rank + max(_EXTRA, rank // 2)
    if side <= _SMALL or 2 * width >= side:
        u, values, v = torch.linalg.svd(matrix, full_matrices=False)
        return Spectrum(u, values.double(), v)
    basis = _range(matrix, width, rank, seed)
    # the projection's own SVD, through the small triangle of its QR
    right, lower = torch.linalg.qr(matrix.t() @ basis)
    u, values, v = torch.linalg.svd(lower.t().double(), full_matrices=False)
    left, values, down = basis @ u[:, :rank].float(), values[:rank], v[:rank].float() @ right.t()
    # measured, not taken from ||matrix||^2 - sum s^2, which rounding drowns where little is left
    left_over = matrix - (left * values.float()) @ down
    return Spectrum(left, values, down, left_over.double().square().sum().item())


def _range(matrix: Tensor, width: int, rank: int, seed: int) -> Tensor:
    """Returns (outputs, width) orthonormal columns that hold nearly all of the leading ranks."""
    generator = torch.Generator(matrix.device).manual_seed(seed)
    start = torch.randn(matrix.shape[1], width, generator=generator, device=matrix.device)
    basis = torch.linalg.qr(matrix @ start)[0]
    total, captured = matrix.double().square().sum().item(), 0.0
    for _ in range(_ROUNDS):
        other, core = torch.linalg.qr(matrix.t() @ basis)
        now = torch.linalg.svdvals(core)[:rank].double().square().sum().item()
        basis = torch.linalg.qr(matrix @ other)[0]
        if now - captured <= _SETTLED * total:
            break
        captured = now
    return basis


def choose_rank(values: Tensor, method: Method, parameter: float, most: int) -> int:
    """Returns the rank a method keeps, from 1 to ``most``.

    ``static``: ``most``. ``sv_ratio``: singular values above the largest / parameter.
    ``sv_cumulative``: the fewest whose sum is that share of all. ``sv_fro``: the fewest whose
    norm is that share of the update's norm. As kohya's resize_lora.py means them; its one rank
    more than needed is not repeated.

    Args:
        values: singular values, largest first.
        method: how to choose.
        parameter: the method's number.
        most: highest rank allowed.
    """
    if method == "static":
        return min(most, len(values))
    if not len(values) or values[0] <= ZERO:
        return 1
    values = values.double()
    if method == "sv_ratio":
        found = int((values > values[0] / parameter).sum())
    elif method == "sv_cumulative":
        found = _fewest(values, parameter)
    else:
        found = _fewest(values.square(), parameter**2)
    return max(1, min(found, most, len(values)))


def _fewest(amounts: Tensor, share: float) -> int:
    sums = amounts.cumsum(0) / amounts.sum()
    # a share of 1 must not hang on the last digit of a sum
    return int((sums < share - 1e-12).sum()) + 1


def total_error(errors: Sequence[tuple[float, float]]) -> float:
    """Returns the relative error of many layers together.

    Args:
        errors: (relative error, norm) of each layer.
    """
    whole = sum(norm**2 for _, norm in errors)
    return (sum((e * norm) ** 2 for e, norm in errors) / whole) ** 0.5 if whole else 0.0
