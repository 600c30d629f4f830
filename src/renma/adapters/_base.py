"""What every adapter is: a small module that changes one frozen linear or convolution layer.

Laws, tested for every file in this folder over random shapes and precisions: a fresh adapter
changes nothing; ``run`` equals the merged weight of ``apply_weight``; strength 0 is the base
bit-exactly; every trainable parameter gets a gradient and no other; saving, loading and saving
again gives the same bytes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

Strength = float | Tensor
"""How strongly an adapter acts: one number, or one number for each row of the batch."""


@dataclass(frozen=True, slots=True)
class LayerSpec:
    """Shape of one layer; all that an adapter may know about it."""

    kind: Literal["linear", "conv2d"]
    inputs: int
    outputs: int
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    @classmethod
    def of(cls, layer: nn.Linear | nn.Conv2d) -> LayerSpec:
        """Returns the shape of a layer."""
        if isinstance(layer, nn.Linear):
            return cls("linear", layer.in_features, layer.out_features)
        if layer.padding_mode != "zeros" or isinstance(layer.padding, str):
            raise ValueError(f"convolution with padding {layer.padding} is not adaptable")
        return cls(
            "conv2d",
            layer.in_channels,
            layer.out_channels,
            _pair(layer.kernel_size),
            _pair(layer.stride),
            _pair(layer.padding),
            _pair(layer.dilation),
            layer.groups,
        )

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """(outputs, inputs) or (outputs, inputs / groups, kernel height, kernel width)."""
        if self.kind == "linear":
            return (self.outputs, self.inputs)
        return (self.outputs, self.inputs // self.groups, *self.kernel)

    @property
    def columns(self) -> int:
        """Width of the weight seen as a matrix with ``outputs`` rows."""
        return self.inputs // self.groups * self.kernel[0] * self.kernel[1]

    def apply(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Runs the layer's operation with any weight of its shape."""
        if self.kind == "linear":
            return functional.linear(x, weight, bias)
        return functional.conv2d(
            x, weight, bias, self.stride, self.padding, self.dilation, self.groups
        )


class Adapter(nn.Module, ABC):
    """Changes one layer; holds only its own tensors, never the layer's."""

    spec: LayerSpec

    @abstractmethod
    def apply_weight(
        self, weight: Tensor, bias: Tensor | None, strength: float = 1.0
    ) -> tuple[Tensor, Tensor | None]:
        """Returns the merged weight and bias: W + strength * (W' - W).

        The one definition of what the algorithm means; computed in ``weight``'s precision.
        """

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """Returns the file form: suffix after the layer's name to tensor."""

    @abstractmethod
    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes the tensors of :meth:`tensors` back.

        Raises:
            ValueError: a tensor is missing or has another shape.
        """

    def run(
        self,
        x: Tensor,
        base: Callable[[Tensor], Tensor],
        layer: nn.Linear | nn.Conv2d,
        strength: Strength = 1.0,
    ) -> Tensor:
        """Returns the changed layer's output for ``x``; algorithms override it to be cheaper.

        Args:
            x: input, (batch, ..., inputs) or (batch, inputs, height, width).
            base: the layer's own forward.
            layer: the frozen layer, for its weight and bias.
            strength: number, or (batch,) tensor.
        """
        if isinstance(strength, Tensor):
            y = base(x)
            full = self.spec.apply(x, *self.apply_weight(layer.weight, layer.bias))
            return y + rows(strength, y) * (full - y)
        return self.spec.apply(x, *self.apply_weight(layer.weight, layer.bias, strength))


def rows(strength: Tensor, like: Tensor) -> Tensor:
    """Returns (batch,) strengths shaped and typed to multiply a (batch, ...) tensor."""
    return strength.to(like).reshape(-1, *[1] * (like.dim() - 1))


def uniform(shape: tuple[int, int], fan_in: int, generator: torch.Generator) -> Tensor:
    """Draws U(-1/sqrt(fan_in), 1/sqrt(fan_in)), the Kaiming-uniform start of kohya and PEFT."""
    bound = fan_in**-0.5
    return torch.empty(shape).uniform_(-bound, bound, generator=generator)


def take(tensors: Mapping[str, Tensor], suffix: str, shape: tuple[int, ...]) -> Tensor:
    """Returns one tensor of a file, reshaped to the adapter's own form.

    Raises:
        ValueError: it is missing or does not have that many elements.
    """
    tensor = tensors.get(suffix)
    if tensor is None:
        raise ValueError(f"{suffix} is missing")
    if tensor.numel() != torch.Size(shape).numel():
        raise ValueError(f"{suffix} has shape {tuple(tensor.shape)}, expected {shape}")
    return tensor.reshape(shape).float()


def _pair(value: tuple[int, ...]) -> tuple[int, int]:
    height, width = value
    return height, width
