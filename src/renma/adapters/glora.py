"""GLoRA as LyCORIS has it: W' = W + (alpha / rank) (W A + B), A and B low-rank.

Chavan et al., arXiv 2306.07967, in the form of LyCORIS (PEFT's GLORA is another method). A acts on
the layer's inputs: y = W (x + s A x) + s B x + b.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from renma.adapters import _base
from renma.config.adapter import GLora, scale, stored_alpha

SUFFIXES = frozenset({"a1.weight", "a2.weight", "b1.weight", "b2.weight"})


class Adapter(_base.Adapter):
    """Low-rank change of the inputs and low-rank update."""

    def __init__(self, spec: _base.LayerSpec, config: GLora, generator: torch.Generator) -> None:
        super().__init__()
        self.spec, self.rank = spec, config.rank
        self.dropout, self.module_dropout = config.dropout, config.module_dropout
        self.scale = scale(config.rank, stored_alpha(config))
        self.channels = spec.inputs // spec.groups
        rank = config.rank

        def drawn(*shape: int) -> nn.Parameter:
            return nn.Parameter(_base.uniform((shape[0], shape[1]), shape[1], generator))

        self.a1 = drawn(self.channels, rank)
        self.a2 = nn.Parameter(torch.zeros(rank, self.channels))
        self.b1 = drawn(spec.outputs, rank)
        self.b2 = nn.Parameter(torch.zeros(rank, spec.columns))

    def apply_weight(
        self, weight: Tensor, bias: Tensor | None, strength: float = 1.0
    ) -> tuple[Tensor, Tensor | None]:
        """Returns W + strength * scale * (W A + B), and the bias as it was."""
        if strength == 0:
            return weight, bias
        wide = weight.to(torch.promote_types(weight.dtype, torch.float32))
        inputs = torch.einsum("oc...,cr,ri->oi...", wide, self.a1.to(wide), self.a2.to(wide))
        update = (self.b1 @ self.b2).to(wide).reshape(weight.shape)
        return (wide + strength * self.scale * (inputs + update)).to(weight.dtype), bias

    def changed(
        self,
        x: Tensor,
        base: Callable[[Tensor], Tensor],
        layer: nn.Module,
        strength: _base.Strength,
    ) -> Tensor:
        """Returns base(x + s A x) + s B x; neither product is built."""
        if self.spec.groups > 1 or not _base.owns(base, layer):
            return super().changed(x, base, layer, strength)
        factor = self.scale * (
            _base.rows(strength, x) if isinstance(strength, Tensor) else strength
        )
        moved, update = self._chain(x, self.a2, self.a1, 1), self._chain(x, self.b2, self.b1, None)
        if self.chance is not None and self.dropout:
            update = update * self.kept("dropout", self.dropout, tuple(update.shape), update)
        return base(x + factor * moved) + factor * update

    def scalable(self) -> list[nn.Parameter]:
        """GLoRA's update depends on the weight; it has no factors to be scaled."""
        return []

    def fast_parameters(self) -> list[nn.Parameter]:
        """Returns the factors that start at zero."""
        return [self.a2, self.b2]

    def tensors(self) -> dict[str, Tensor]:
        """Returns a1.weight, a2.weight, b1.weight, b2.weight and alpha."""
        found = {name: getattr(self, name).detach() for name in ("a1", "a2", "b1", "b2")}
        if self.spec.kind == "conv2d":
            kernel = {"b2": self.spec.kernel}
            found = {
                name: t.reshape(t.shape[0], -1, *kernel.get(name, (1, 1)))
                for name, t in found.items()
            }
        named = {f"{name}.weight": t for name, t in found.items()}
        return named | {"alpha": torch.tensor(self.scale * self.rank)}

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes the factors and alpha from a file; a missing alpha means alpha = rank."""
        for name in ("a1", "a2", "b1", "b2"):
            parameter = getattr(self, name)
            stored = _base.take(tensors, f"{name}.weight", tuple(parameter.shape))
            parameter.data.copy_(stored)
        self.scale = _base.scale_of(tensors, self.rank)

    def _chain(self, x: Tensor, first: Tensor, second: Tensor, tap: int | None) -> Tensor:
        """Returns second (first x); ``tap`` 1 means 1x1, None the layer's own geometry."""
        first, second = first.to(x.dtype), second.to(x.dtype)
        if self.spec.kind == "linear":
            return functional.linear(functional.linear(x, first), second)
        if tap:
            inner = functional.conv2d(x, first[:, :, None, None])
        else:
            spec, kernel = self.spec, first.reshape(self.rank, -1, *self.spec.kernel)
            inner = functional.conv2d(x, kernel, None, spec.stride, spec.padding, spec.dilation)
        return functional.conv2d(inner, second[:, :, None, None])


def parameters(spec: _base.LayerSpec, config: GLora) -> int:
    """Returns how many numbers are trained: two pairs of factors."""
    channels = spec.inputs // spec.groups
    return config.rank * (2 * channels + spec.outputs + spec.columns)


def config_of(tensors: Mapping[str, Tensor]) -> GLora:
    """Returns rank and alpha as the tensors of one layer tell them.

    Raises:
        ValueError: a factor is missing.
    """
    factor, alpha = tensors.get("a2.weight"), tensors.get("alpha")
    if factor is None:
        raise ValueError("a2.weight is missing")
    rank = factor.shape[0]
    return GLora(rank=rank, alpha=float(alpha) if alpha is not None else float(rank))
