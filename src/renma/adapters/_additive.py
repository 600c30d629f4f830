"""What every algorithm that adds an update to the weight shares; DoRA is an option of each.

DoRA (arXiv 2402.09353): W' = g o (W + dW) with g = magnitude / ||W + dW||, one norm for each
output row (PEFT's, LyCORIS' default) or for each input column over outputs and kernel (older
LyCORIS, OneTrainer). Both exist in files; the shape of ``dora_scale`` tells which: (outputs, 1,
...) or (1, inputs, ...).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import cast

import torch
from torch import Tensor, nn

from renma.adapters import _base
from renma.adapters._lean import Changed
from renma.config.adapter import Dora, DyLora, Full, LoHa, LoKr, Lora, LoraFA, Mora

MAGNITUDE = "dora_scale"
Additions = Lora | LoraFA | DyLora | LoHa | LoKr | Mora | Full
"""Options of the algorithms that add an update to the weight."""


class Additive(_base.Adapter):
    """W' = W + update, or its DoRA form.

    Args:
        spec: the layer's shape.
        config: dropouts, DoRA's side, and whether gradients go through its norm, which the paper
            (4.3) leaves out.
    """

    def __init__(self, spec: _base.LayerSpec, config: Additions) -> None:
        super().__init__()
        dora, norm_gradient = config.dora, config.dora_norm_gradient
        self.spec, self.norm_gradient = spec, norm_gradient
        self.dora: Dora = dora
        self.dropout, self.module_dropout = config.dropout, config.module_dropout
        count = magnitudes(spec, dora)
        self.magnitude = nn.Parameter(torch.ones(count)) if count else None
        self.diff_b: nn.Parameter | None = None

    @abstractmethod
    def parts(self) -> tuple[Tensor, ...]:
        """Returns the tensors that the update is built of; gradients flow through them."""

    def bare_parts(self) -> tuple[Tensor, ...]:
        """Returns parts of which nothing is worked out yet: least memory, most work."""
        return self.parts()

    @abstractmethod
    def update(self, *parts: Tensor) -> Tensor:
        """Returns the update (outputs, columns), scale included, from :meth:`parts`."""

    def bias_change(self) -> Tensor | None:
        """Returns what is added to the bias: trained by ``full``, beside others in some files."""
        return self.diff_b

    def _moved_bias(self, bias: Tensor | None, strength: float) -> Tensor | None:
        change = self.bias_change()
        if change is None:
            return bias
        return strength * change if bias is None else bias + (strength * change).to(bias.dtype)

    def start(self, weight: Tensor) -> None:
        """Sets DoRA's magnitude to the norms of the frozen weight."""
        if self.magnitude is not None:
            self.magnitude.data.copy_(norms(weight.to(self.magnitude.dtype), self.dora))

    def unchanged(self, weight: Tensor) -> list[tuple[nn.Parameter, Tensor]]:
        """Returns DoRA's magnitude with the norms of the frozen weight."""
        if self.magnitude is None:
            return []
        return [(self.magnitude, norms(weight.to(self.magnitude.dtype), self.dora))]

    def apply_weight(
        self, weight: Tensor, bias: Tensor | None, strength: float = 1.0
    ) -> tuple[Tensor, Tensor | None]:
        """Returns W + strength * (W' - W), and the bias as it was."""
        if strength == 0:
            return weight, bias
        wide = weight.to(torch.promote_types(weight.dtype, torch.float32))
        change = self._change(wide, *self._with_magnitude(self.parts())).to(wide.dtype)
        return (wide + strength * change).to(weight.dtype), self._moved_bias(bias, strength)

    def changed(
        self,
        x: Tensor,
        base: Callable[[Tensor], Tensor],
        layer: nn.Module,
        strength: _base.Strength,
    ) -> Tensor:
        """Returns the output of the changed layer; only ``x`` and the parts are kept.

        In float32 the layer runs once with its changed weight. In lower precision the update runs
        beside it: added to the weight, a small update would be rounded away.
        """
        dropping = self.chance is not None and bool(self.dropout)
        stored = cast("Tensor", layer.weight)
        if (
            not (isinstance(strength, Tensor) or dropping)
            and _base.owns(base, layer)
            and _base.is_wide(x.dtype, stored.dtype)
        ):

            def scaled(*given: Tensor) -> Tensor:
                return strength * self._change(stored, *given)

            bias = self._moved_bias(_base.bias_of(layer), strength)
            return Changed.apply(
                self.spec, scaled, x, stored, bias, *self._with_magnitude(self.parts())
            )

        def change(*given: Tensor) -> Tensor:
            if self.magnitude is None:  # nothing large is added: the layer's precision will do
                return self.update(*(part.to(x.dtype) for part in given))
            # a quantised weight is computed back at every call and never kept
            return self._change(_base.weight_of(layer, x.dtype), *given)

        parts = self._with_magnitude(self.bare_parts())
        extra = Changed.apply(self.spec, change, x, None, self.bias_change(), *parts)
        if dropping:
            extra = extra * self.kept("dropout", self.dropout, tuple(extra.shape), extra)
        factor = _base.rows(strength, extra) if isinstance(strength, Tensor) else strength
        return base(x) + factor * extra

    def clamp_norm_(self, limit: float) -> float | None:
        """Shortens the update to ``limit`` by scaling its trained factors alike."""
        factors = self.scalable()
        if not factors:
            return None
        with torch.no_grad():
            norm = self.update_norm()
            if norm > limit:
                ratio = (limit / norm) ** (1 / len(factors))
                for factor in factors:
                    factor.mul_(ratio)
        return norm

    def update_norm(self) -> float:
        """Returns the Frobenius norm of the update, scale included."""
        return self.update(*self.parts()).norm().item()

    def scalable(self) -> list[nn.Parameter]:
        """Returns the trained factors whose product is the update."""
        return []

    def other_tensors(self) -> dict[str, Tensor]:
        """Returns DoRA's tensor in the file's shape, and the bias's, where there are any."""
        bias = {} if self.diff_b is None else {"diff_b": self.diff_b.detach()}
        if self.magnitude is None:
            return bias
        ones = [1] * (len(self.spec.weight_shape) - 1)
        shape = (-1, *ones) if self.dora == "output" else (1, -1, *ones[1:])
        return bias | {MAGNITUDE: self.magnitude.detach().reshape(shape)}

    def load_others(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes DoRA's tensor, and the bias's, from a file.

        Raises:
            ValueError: a size does not fit the layer.
        """
        if "diff_b" in tensors:
            stored = _base.take(tensors, "diff_b", (self.spec.outputs,))
            self.diff_b = nn.Parameter(stored.clone())
        if self.magnitude is not None:
            stored = _base.take(tensors, MAGNITUDE, tuple(self.magnitude.shape))
            self.magnitude.data.copy_(stored)

    def _with_magnitude(self, parts: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return parts if self.magnitude is None else (*parts, self.magnitude)

    def _change(self, weight: Tensor, *parts: Tensor) -> Tensor:
        """Returns W' - W, shaped like the weight."""
        if self.magnitude is None:
            return self.update(*parts).reshape(self.spec.weight_shape)
        *own, magnitude = parts
        wide = weight.to(torch.promote_types(weight.dtype, magnitude.dtype))
        moved = wide + self.update(*own).reshape(weight.shape)
        return moved * self._gain(moved, magnitude) - wide

    def _gain(self, moved: Tensor, magnitude: Tensor) -> Tensor:
        """Returns g, shaped to multiply the weight."""
        norm = norms(moved, self.dora)
        gain = self.ratio(magnitude, norm)
        ones = [1] * (moved.dim() - 1)
        return gain.reshape((-1, *ones) if self.dora == "output" else (1, -1, *ones[1:]))

    def ratio(self, magnitude: Tensor, norm: Tensor) -> Tensor:
        """Returns magnitude / norm; a row of zeros has no direction and stays zero."""
        norm = norm if self.norm_gradient else norm.detach()
        return magnitude / norm.clamp_min(torch.finfo(norm.dtype).tiny)


def magnitudes(spec: _base.LayerSpec, dora: Dora) -> int:
    """Returns how many magnitudes DoRA trains on a layer."""
    return {"off": 0, "output": spec.outputs, "input": spec.inputs // spec.groups}[dora]


def norms(weight: Tensor, dora: Dora) -> Tensor:
    """Returns the norm of each output row, or of each input channel, of a weight."""
    rows = weight if dora == "output" else weight.transpose(0, 1)
    return rows.flatten(1).norm(dim=1)


def dora_of(tensors: Mapping[str, Tensor], outputs: int) -> Dora:
    """Returns which norms a file's ``dora_scale`` holds, by its shape."""
    stored = tensors.get(MAGNITUDE)
    if stored is None:
        return "off"
    per_input = stored.dim() > 1 and stored.shape[0] == 1 and max(stored.shape[1], outputs) > 1
    return "input" if per_input else "output"
