"""MoRA: one square matrix between a compressed input and an expanded output.

Jiang et al., arXiv 2405.12130, types 1 ("sharing") and 6 ("rotation") of the authors' code. The
input is padded with its own first numbers and cut into chunks as wide as the matrix; sharing adds
the chunks up and repeats the result over the outputs, rotation turns chunk j by the angles
j * 10000^(-2i/width) and puts the results one after another. The update has full rank in type 6.

No other program reads MoRA, so the file has names of its own: ``mora`` and ``mora_type``.
Convolutions are treated as matrices over inputs and kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from renma.adapters import _base
from renma.adapters._additive import Additive, dora_of, magnitudes
from renma.config.adapter import Mora

SUFFIXES = frozenset({"mora"})
Kind = Literal["sharing", "rotation"]
TYPES: dict[Kind, int] = {"sharing": 1, "rotation": 6}


class Adapter(Additive):
    """A square matrix of about sqrt((inputs + outputs) * rank) rows."""

    def __init__(self, spec: _base.LayerSpec, config: Mora, generator: torch.Generator) -> None:
        del generator  # it starts at zero
        super().__init__(spec, config)
        self.kind: Kind = config.kind
        size = width(spec, config)
        self.matrix = nn.Parameter(torch.zeros(size, size))

    @classmethod
    def of_file(cls, spec: _base.LayerSpec, tensors: Mapping[str, Tensor], config: Mora) -> Adapter:
        """Returns an adapter of the kind that a file tells."""
        side = dora_of(tensors, spec.outputs)
        return cls(spec, config.model_copy(update={"dora": side}), torch.Generator())

    def parts(self) -> tuple[Tensor, ...]:
        """Returns the square matrix."""
        return (self.matrix,)

    def update(self, *parts: Tensor) -> Tensor:
        """Returns the weight's change: what the update does to each unit vector."""
        (matrix,) = parts
        units = torch.eye(self.spec.columns, dtype=matrix.dtype, device=matrix.device)
        return self.response(units, matrix).t()

    def changed(
        self,
        x: Tensor,
        base: Callable[[Tensor], Tensor],
        layer: nn.Module,
        strength: _base.Strength,
    ) -> Tensor:
        """Returns base(x) + strength * expand(M compress(x))."""
        if self.magnitude is not None or self.diff_b is not None or self.spec.kind != "linear":
            return super().changed(x, base, layer, strength)
        extra = self.response(x, self.matrix.to(x.dtype))
        if self.chance is not None and self.dropout:
            extra = extra * self.kept("dropout", self.dropout, tuple(extra.shape), extra)
        factor = _base.rows(strength, extra) if isinstance(strength, Tensor) else strength
        return base(x) + factor * extra

    def scalable(self) -> list[nn.Parameter]:
        """Returns the matrix."""
        return [self.matrix]

    def tensors(self) -> dict[str, Tensor]:
        """Returns mora (width, width) and mora_type (1 or 6)."""
        kind = torch.tensor(TYPES[self.kind])
        return {"mora": self.matrix.detach(), "mora_type": kind} | self.other_tensors()

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes the matrix from a file; its size may be another than the rank gives."""
        stored = tensors.get("mora")
        if stored is None or stored.dim() != 2 or stored.shape[0] != stored.shape[1]:
            raise ValueError("mora is missing or no square matrix")
        self.matrix = nn.Parameter(stored.float().clone())
        self.load_others(tensors)

    def response(self, x: Tensor, matrix: Tensor) -> Tensor:
        """Returns the update's output (..., outputs) for x (..., columns)."""
        columns, outputs, size = self.spec.columns, self.spec.outputs, matrix.shape[0]
        chunks = -(-columns // size)
        missing = chunks * size - columns
        if missing > columns:  # a matrix wider than twice the layer
            x = x.repeat_interleave(1, -1)[..., torch.arange(chunks * size) % columns]
        elif missing:
            x = torch.cat([x, x[..., :missing]], dim=-1)
        parts = x.unflatten(-1, (chunks, size))
        if self.kind == "sharing":
            out = functional.linear(parts.sum(-2), matrix)
        else:
            out = functional.linear(_rotated(parts), matrix).flatten(-2)
        if out.shape[-1] < outputs:
            repeats = -(-outputs // out.shape[-1])
            out = out.repeat(*[1] * (out.dim() - 1), repeats)
        return out[..., :outputs]


def _rotated(parts: Tensor) -> Tensor:
    """Turns chunk j of (..., chunks, width) by its angles; halves of a chunk form the pairs."""
    chunks, size = parts.shape[-2:]
    half = torch.arange(0, size, 2, device=parts.device, dtype=torch.float32) / size
    angles = torch.outer(torch.arange(chunks, device=parts.device).float(), 10000.0**-half)
    angles = torch.cat([angles, angles], dim=-1)
    first, second = parts.chunk(2, dim=-1)
    turned = torch.cat([-second, first], dim=-1)
    return parts * angles.cos().to(parts.dtype) + turned * angles.sin().to(parts.dtype)


def width(spec: _base.LayerSpec, config: Mora) -> int:
    """Returns the matrix's rows: as many numbers as LoRA of that rank; even for rotation."""
    size = max(1, round(((spec.columns + spec.outputs) * config.rank) ** 0.5))
    return size // 2 * 2 or 2 if config.kind == "rotation" else size


def parameters(spec: _base.LayerSpec, config: Mora) -> int:
    """Returns how many numbers are trained: the matrix, and DoRA's."""
    return width(spec, config) ** 2 + magnitudes(spec, config.dora)


def config_of(tensors: Mapping[str, Tensor]) -> Mora:
    """Returns the kind as the tensors of one layer tell it; the size and DoRA's side are free.

    Raises:
        ValueError: the type is missing or unknown.
    """
    number = tensors.get("mora_type")
    if number is None or int(number) not in TYPES.values():
        raise ValueError("mora_type is missing or neither 1 nor 6: the matrix alone does not tell")
    return Mora(kind="sharing" if int(number) == TYPES["sharing"] else "rotation")
