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
from types import MethodType
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from renma.adapters._product import linear
from renma.config.adapter import scale
from renma.core import keyed

Strength = float | Tensor
"""How strongly an adapter acts: one number, one for each row of the batch, or one for each place of
each row: a (batch, height, width) map, for layers whose output has places."""


@dataclass(frozen=True, slots=True)
class LayerSpec:
    """Shape of one layer; all that an adapter may know about it.

    Norm layers (``layer_norm``, ``group_norm``) have as many inputs as outputs: their channels.
    """

    kind: Literal["linear", "conv2d", "layer_norm", "group_norm"]
    inputs: int
    outputs: int
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    eps: float = 1e-5

    @classmethod
    def of(cls, layer: nn.Module) -> LayerSpec:
        """Returns the shape of a layer.

        Raises:
            ValueError: it is of no kind that an adapter can change.
        """
        if isinstance(layer, nn.Linear):
            return cls("linear", layer.in_features, layer.out_features)
        if isinstance(layer, nn.LayerNorm):
            width = layer.normalized_shape[0]
            return cls("layer_norm", width, width, eps=layer.eps)
        if isinstance(layer, nn.GroupNorm):
            width = layer.num_channels
            return cls("group_norm", width, width, groups=layer.num_groups, eps=layer.eps)
        if not isinstance(layer, nn.Conv2d):
            raise ValueError(f"a {type(layer).__name__} is not adaptable")
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

    @classmethod
    def of_weight(cls, shape: torch.Size) -> LayerSpec:
        """Returns what a weight's shape tells: enough to merge, not to run a convolution."""
        if len(shape) == 1:
            return cls("layer_norm", shape[0], shape[0])
        if len(shape) == 2:
            return cls("linear", shape[1], shape[0])
        return cls("conv2d", shape[1], shape[0], _pair(tuple(shape[2:])))

    @property
    def is_norm(self) -> bool:
        """Whether it is a norm layer, whose weight is one number for each channel."""
        return self.kind in {"layer_norm", "group_norm"}

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """(outputs, inputs) or (outputs, inputs / groups, kernel height, kernel width).

        Norm layers: (channels,).
        """
        if self.is_norm:
            return (self.outputs,)
        if self.kind == "linear":
            return (self.outputs, self.inputs)
        return (self.outputs, self.inputs // self.groups, *self.kernel)

    @property
    def taps(self) -> int:
        """Points of the kernel: 1 for linear layers."""
        return self.kernel[0] * self.kernel[1]

    @property
    def columns(self) -> int:
        """Width of the weight seen as a matrix with ``outputs`` rows."""
        return self.inputs // self.groups * self.taps

    def apply(self, x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        """Runs the layer's operation with any weight of its shape; norm layers also without."""
        if self.kind == "layer_norm":
            return functional.layer_norm(x, (self.outputs,), weight, bias, self.eps)
        if self.kind == "group_norm":
            return functional.group_norm(x, self.groups, weight, bias, self.eps)
        assert weight is not None
        if self.kind == "linear":
            return linear(x, weight, bias)
        return functional.conv2d(
            x, weight, bias, self.stride, self.padding, self.dilation, self.groups
        )


class Adapter(nn.Module, ABC):
    """Changes one layer; holds only its own tensors, never the layer's.

    Attributes:
        chance: key of this step's random masks; None (previews, judging) leaves nothing out.
        module_dropout: chance of the layer to work without its adapter in a step.
    """

    spec: LayerSpec
    chance: int | None = None
    module_dropout: float = 0.0

    def start(self, weight: Tensor) -> None:
        """Takes what the start needs from the frozen weight; called once, before training."""

    def unchanged(self, weight: Tensor) -> list[tuple[nn.Parameter, Tensor]]:
        """Returns the trained numbers that mean no change elsewhere than at 0, with where they do.

        Args:
            weight: of the frozen layer, as :meth:`start` got it.
        """
        del weight
        return []

    def reset_draws(self) -> None:
        """Forgets what is random about one batch: everything acts again."""
        self.chance = None

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

    @property
    def left_out(self) -> bool:
        """Whether module dropout leaves this layer's adapter out in this step."""
        if self.chance is None or not self.module_dropout:
            return False
        return keyed.rng(self.chance, "module").random() < self.module_dropout

    def kept(self, purpose: str, share: float, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """Returns this step's mask of inverted dropout: 0, or 1 / (1 - share).

        The same step gives the same mask again, so a recomputed forward equals the first one.
        """
        assert self.chance is not None
        generator = torch.Generator(like.device).manual_seed(keyed.key(self.chance, purpose))
        drawn = torch.rand(shape, generator=generator, device=like.device)
        return (drawn >= share).to(like.dtype) / (1 - share)

    def low_rank(self) -> tuple[Tensor, Tensor] | None:
        """Returns the update exactly as up (outputs, rank) @ down (rank, columns), scale included.

        None where the algorithm has no exact form of a rank below the layer's own.
        """
        return None

    def clamp_norm_(self, limit: float) -> float | None:
        """Shortens the update to Frobenius norm ``limit`` if it is longer (max-norm).

        Returns:
            The norm before; None where the algorithm has no such norm.
        """
        del limit
        return None

    def fast_parameters(self) -> list[nn.Parameter]:
        """Returns the parameters that LoRA+ trains faster: the factor that starts at zero."""
        return []

    def run(
        self,
        x: Tensor,
        base: Callable[[Tensor], Tensor],
        layer: nn.Module,
        strength: Strength = 1.0,
    ) -> Tensor:
        """Returns the changed layer's output for ``x``.

        Args:
            x: input, (batch, ..., inputs) or (batch, inputs, height, width).
            base: the layer's own forward, or that forward with other adapters.
            layer: the frozen layer, for its weight and bias.
            strength: number, or (batch,) tensor.
        """
        if not isinstance(strength, Tensor) and strength == 0:
            return base(x)
        if self.left_out:
            return base(x)
        return self.changed(x, base, layer, strength)

    def changed(
        self,
        x: Tensor,
        base: Callable[[Tensor], Tensor],
        layer: nn.Module,
        strength: Strength,
    ) -> Tensor:
        """Returns what :meth:`run` does where the adapter acts: here, the merged weight's output.

        Algorithms override it to be cheaper.
        """
        weight, bias = weight_of(layer, x.dtype), bias_of(layer)
        if not isinstance(strength, Tensor) and owns(base, layer):
            return self.spec.apply(x, *self.apply_weight(weight, bias, strength))
        y, plain = base(x), self.spec.apply(x, weight, bias)
        change = self.spec.apply(x, *self.apply_weight(weight, bias)) - plain
        factor = rows(strength, y) if isinstance(strength, Tensor) else strength
        return y + factor * change


def own_forward(layer: nn.Module) -> Callable[[Tensor], Tensor]:
    """Returns the layer's forward without any adapter."""
    return MethodType(type(layer).forward, layer)


def is_wide(*dtypes: torch.dtype) -> bool:
    """Says whether all are one precision that holds a weight and a small update in one number.

    In bfloat16 a weight swallows updates below half a percent of itself, so whatever is small has
    to be worked out beside it there.
    """
    return set(dtypes) in ({torch.float32}, {torch.float64})


def owns(base: Callable[[Tensor], Tensor], layer: nn.Module) -> bool:
    """Says whether ``base`` is the layer's own forward, with no other adapter in between."""
    return getattr(base, "__self__", None) is layer


def weight_of(layer: nn.Module, dtype: torch.dtype) -> Tensor:
    """Returns a layer's weight; a quantised one is computed back for the moment, not kept."""
    restore = getattr(layer, "dequantized", None)
    return restore(dtype) if restore is not None else cast("Tensor", layer.weight)


def bias_of(layer: nn.Module) -> Tensor | None:
    """Returns a layer's bias."""
    return cast("Tensor | None", layer.bias)


def rows(strength: Tensor, like: Tensor) -> Tensor:
    """Returns strengths shaped and typed to multiply a (batch, ...) tensor.

    Args:
        strength: (batch,), or a map (batch, height, width) that is made as small as the tensor.
        like: the tensor: any for (batch,); of a picture's places for a map: (batch, channels, h,
            w), or (batch, h * w, channels).

    Raises:
        ValueError: the tensor has other places than the map.
    """
    if strength.dim() == 1:
        return strength.to(like).reshape(-1, *[1] * (like.dim() - 1))
    if like.dim() == 4:
        return functional.adaptive_avg_pool2d(strength[:, None], _pair(tuple(like.shape[2:]))).to(
            like
        )
    height, width = strength.shape[1:]
    while height * width > like.shape[1]:  # each level of a U-Net has half the side, rounded up
        height, width = (height + 1) // 2, (width + 1) // 2
    if like.dim() != 3 or height * width != like.shape[1]:
        raise ValueError(f"a map {tuple(strength.shape)} does not fit {tuple(like.shape)}")
    small = functional.adaptive_avg_pool2d(strength[:, None], (height, width))
    return small.flatten(2).transpose(1, 2).to(like)


def uniform(shape: tuple[int, int], fan_in: int, generator: torch.Generator) -> Tensor:
    """Draws U(-1/sqrt(fan_in), 1/sqrt(fan_in)), the Kaiming-uniform start of kohya and PEFT."""
    bound = fan_in**-0.5
    return torch.empty(shape).uniform_(-bound, bound, generator=generator)


def scale_of(tensors: Mapping[str, Tensor], rank: int) -> float:
    """Returns alpha / rank of a file's layer; a missing alpha means alpha = rank."""
    alpha = tensors.get("alpha")
    return scale(rank, float(alpha) if alpha is not None else 0.0)


def take(tensors: Mapping[str, Tensor], suffix: str, shape: tuple[int, ...]) -> Tensor:
    """Returns one tensor of a file, reshaped to the adapter's own form.

    Raises:
        ValueError: it is missing or has another shape, its kernel's axes aside.
    """
    tensor = tensors.get(suffix)
    if tensor is None:
        raise ValueError(f"{suffix} is missing")
    if _flat(tuple(tensor.shape), len(shape)) != shape:
        raise ValueError(f"{suffix} has shape {tuple(tensor.shape)}, expected {shape}")
    return tensor.reshape(shape).float()


def _flat(shape: tuple[int, ...], axes: int) -> tuple[int, ...]:
    """Returns a file's shape as an adapter holds it: kernels flattened, vectors of one axis."""
    if len(shape) > axes and axes == 1:  # (1, n, 1, 1), (n, 1)
        return (torch.Size(shape).numel(),) if max(shape) == torch.Size(shape).numel() else shape
    if len(shape) > axes:
        return (*shape[: axes - 1], torch.Size(shape[axes - 1 :]).numel())
    return shape


def _pair(value: tuple[int, ...]) -> tuple[int, int]:
    height, width = value
    return height, width
