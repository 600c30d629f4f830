"""The whole difference of a weight and its bias; for norm layers too.

LyCORIS' ``full`` (diff, diff_b) and ``norm`` (w_norm, b_norm). As large as the layer itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from renma.adapters import _base
from renma.adapters._additive import Additive, dora_of, magnitudes
from renma.config.adapter import Full

SUFFIXES = frozenset({"diff", "diff_b", "w_norm", "b_norm"})


class Adapter(Additive):
    """A difference as large as the weight."""

    def __init__(self, spec: _base.LayerSpec, config: Full, generator: torch.Generator) -> None:
        del generator  # it starts at zero
        super().__init__(
            spec, config.model_copy(update={"dora": "off"}) if spec.is_norm else config
        )
        shape = (spec.outputs,) if spec.is_norm else (spec.outputs, spec.columns)
        self.diff = nn.Parameter(torch.zeros(shape))
        if config.bias:
            self.diff_b = nn.Parameter(torch.zeros(spec.outputs))

    def parts(self) -> tuple[Tensor, ...]:
        """Returns the difference."""
        return (self.diff,)

    def update(self, *parts: Tensor) -> Tensor:
        """Returns the difference."""
        return parts[0]

    def changed(
        self,
        x: Tensor,
        base: Callable[[Tensor], Tensor],
        layer: nn.Module,
        strength: _base.Strength,
    ) -> Tensor:
        """Returns the layer's output with the difference.

        Of a norm layer the difference acts beside its own weight, which would swallow small ones
        in low precision.
        """
        if not self.spec.is_norm:
            return super().changed(x, base, layer, strength)
        y = base(x)
        around = [1] * (x.dim() - 2) if self.spec.kind == "group_norm" else []
        change = self.spec.apply(x, None, None) * self.diff.to(x.dtype).reshape(-1, *around)
        if self.diff_b is not None:
            change = change + self.diff_b.to(x.dtype).reshape(-1, *around)
        return y + (_base.rows(strength, y) if isinstance(strength, Tensor) else strength) * change

    def scalable(self) -> list[nn.Parameter]:
        """Returns the difference."""
        return [self.diff]

    def tensors(self) -> dict[str, Tensor]:
        """Returns diff and diff_b, or w_norm and b_norm."""
        weight, bias = ("w_norm", "b_norm") if self.spec.is_norm else ("diff", "diff_b")
        found = {weight: self.diff.detach().reshape(self.spec.weight_shape)}
        others = self.other_tensors()
        if "diff_b" in others:
            others[bias] = others.pop("diff_b")
        return found | others

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes the differences from a file."""
        weight, bias = ("w_norm", "b_norm") if self.spec.is_norm else ("diff", "diff_b")
        self.diff.data.copy_(_base.take(tensors, weight, tuple(self.diff.shape)))
        self.load_others({**tensors, **({"diff_b": tensors[bias]} if bias in tensors else {})})


def parameters(spec: _base.LayerSpec, config: Full) -> int:
    """Returns how many numbers are trained: all of the weight, and its bias."""
    if spec.is_norm:
        return spec.outputs * (2 if config.bias else 1)
    bias = spec.outputs if config.bias else 0
    return spec.outputs * spec.columns + bias + magnitudes(spec, config.dora)


def config_of(tensors: Mapping[str, Tensor]) -> Full:
    """Returns whether the bias is part of it, and DoRA's side.

    Raises:
        ValueError: there is a bias without a weight.
    """
    weight = tensors.get("diff", tensors.get("w_norm"))
    if weight is None:
        raise ValueError("diff is missing")
    bias = "diff_b" in tensors or "b_norm" in tensors
    return Full(bias=bias, dora=dora_of(tensors, weight.shape[0]))
