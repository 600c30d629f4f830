"""(IA)3: one learned factor for each channel, y = l o (W x + b) or y = W (l o x) + b.

Liu et al., arXiv 2205.05638. Files hold l - 1 as LyCORIS does (``weight``, ``on_input``).
LyCORIS leaves the bias unscaled; ``bias_scaled`` = 1 marks files that mean the paper's form, which
is what is trained here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from renma.adapters import _base
from renma.config.adapter import IA3

SUFFIXES = frozenset({"on_input"})


class Adapter(_base.Adapter):
    """A factor for each output channel, or for each input channel."""

    def __init__(self, spec: _base.LayerSpec, config: IA3, generator: torch.Generator) -> None:
        super().__init__()
        del generator  # it starts at one
        self.spec, self.on_input = spec, config.on_input
        self.module_dropout = config.module_dropout
        self.scales_bias = not config.on_input
        count = spec.inputs if config.on_input else spec.outputs
        self.weight = nn.Parameter(torch.zeros(count))

    @classmethod
    def of_file(cls, spec: _base.LayerSpec, tensors: Mapping[str, Tensor], config: IA3) -> Adapter:
        """Returns an adapter with as many factors as the file has.

        A grouped convolution's weight alone does not tell its inputs.
        """
        adapter = cls(spec, config, torch.Generator())
        stored = tensors.get("weight")
        rows = spec.inputs // spec.groups
        if stored is not None and adapter.on_input and stored.numel() % rows == 0:
            adapter.weight = nn.Parameter(torch.zeros(stored.numel()))
        return adapter

    def apply_weight(
        self, weight: Tensor, bias: Tensor | None, strength: float = 1.0
    ) -> tuple[Tensor, Tensor | None]:
        """Returns diag(l) W and l o b, or W diag(l) and b, at a strength."""
        if strength == 0:
            return weight, bias
        wide = torch.promote_types(weight.dtype, torch.float32)
        factor = 1 + strength * self.weight.to(wide)
        if not self.on_input:
            moved = weight.to(wide) * factor.reshape(-1, *[1] * (weight.dim() - 1))
            if bias is not None and self.scales_bias:
                bias = (bias.to(wide) * factor).to(bias.dtype)
            return moved.to(weight.dtype), bias
        # grouped convolutions: each output sees only its group's inputs
        by_group = factor.reshape(-1, 1, weight.shape[1], *[1] * (weight.dim() - 2))
        blocks = weight.to(wide).reshape(by_group.shape[0], -1, *weight.shape[1:])
        return (blocks * by_group).reshape(weight.shape).to(weight.dtype), bias

    def changed(
        self,
        x: Tensor,
        base: Callable[[Tensor], Tensor],
        layer: nn.Module,
        strength: _base.Strength,
    ) -> Tensor:
        """Returns the output with scaled channels; no weight is built.

        What the factors add is worked out beside the layer's own output: in low precision 1 + w
        would be 1.
        """
        around = [1] * (x.dim() - 2) if self.spec.kind == "conv2d" else []
        factor = self.weight.to(x.dtype).reshape(-1, *around)
        if self.on_input and _base.owns(base, layer) and _base.is_wide(x.dtype):
            share = _base.rows(strength, x) if isinstance(strength, Tensor) else strength
            return base(x * (1 + share * factor))
        y, bias = base(x), _base.bias_of(layer)
        whole = not self.on_input and (self.scales_bias or bias is None)
        alone = not isinstance(strength, Tensor) and _base.owns(base, layer)
        if whole and alone and _base.is_wide(x.dtype):
            return y * (1 + strength * factor)
        if bias is not None:
            bias = bias.to(x.dtype).reshape(-1, *around)
        if self.on_input:
            change = _base.own_forward(layer)(x * factor)
            change = change if bias is None else change - bias
        else:
            plain = y if _base.owns(base, layer) else _base.own_forward(layer)(x)
            change = (plain if self.scales_bias or bias is None else plain - bias) * factor
        return y + (_base.rows(strength, y) if isinstance(strength, Tensor) else strength) * change

    def tensors(self) -> dict[str, Tensor]:
        """Returns weight (l - 1), on_input, and bias_scaled where the bias is scaled too."""
        shape = (1, -1, 1, 1) if self.spec.kind == "conv2d" else (-1,)
        found = {
            "weight": self.weight.detach().reshape(shape),
            "on_input": torch.tensor(int(self.on_input)),
        }
        return found | ({"bias_scaled": torch.tensor(1)} if self.scales_bias else {})

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes the factors from a file."""
        self.weight.data.copy_(_base.take(tensors, "weight", tuple(self.weight.shape)))
        marked = tensors.get("bias_scaled")
        self.scales_bias = bool(marked) if marked is not None else False


def parameters(spec: _base.LayerSpec, config: IA3) -> int:
    """Returns how many numbers are trained: one for each output, or for each input."""
    return spec.inputs if config.on_input else spec.outputs


def config_of(tensors: Mapping[str, Tensor]) -> IA3:
    """Returns which side is scaled.

    Raises:
        ValueError: the mark of the side is missing.
    """
    if "on_input" not in tensors:
        raise ValueError("on_input is missing")
    return IA3(on_input=bool(tensors["on_input"]))
