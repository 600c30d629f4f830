"""What one layer of a LoRA file is: rank, shape of its weight, strength of its update."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from renma import adapters
from renma.adapters._additive import Additive
from renma.adapters._base import LayerSpec
from renma.formats.layer_shape import weight_shape

Layer = Mapping[str, Tensor]

_RANKS = {
    "lora_down.weight": 0, "hada_w1_b": 0, "lokr_w2_b": 0, "lokr_w1_b": 0, "a1.weight": 1,
    "mora": 0, "oft_blocks": 0,
}  # fmt: skip
"""Tensors whose axis is the rank (of MoRA: the side of its matrix; of OFT: the blocks)."""


def rank_of(layer: Layer) -> int | None:
    """Returns the rank of a layer; None for algorithms that have none."""
    for suffix, axis in _RANKS.items():
        tensor = layer.get(suffix)
        if tensor is not None and tensor.dim() > axis:
            return tensor.shape[axis]
    return None


def spec(shape: tuple[int, ...]) -> LayerSpec:
    """Returns a layer's description by the shape of its weight."""
    return LayerSpec.of_weight(torch.Size(shape))


def is_finite(tensor: Tensor) -> bool:
    """Says whether no number is NaN or infinite."""
    if tensor.is_floating_point() and tensor.element_size() == 1:
        tensor = tensor.float()  # torch cannot test 8-bit numbers
    return bool(tensor.isfinite().all())


def strength(key: str, layer: Layer) -> float | None:
    """Returns the Frobenius norm of the update, scale included; of DoRA, without magnitudes.

    None where it depends on the weight ((IA)3, OFT, GLoRA), or the layer is damaged.
    """
    if {"lora_down.weight", "lora_up.weight"} <= layer.keys() and "lora_mid.weight" not in layer:
        return _low_rank(layer)
    shape = weight_shape(key, layer)
    if shape is None:
        return None
    try:
        adapter = adapters.restore(spec(shape), layer)
    except (ValueError, IndexError, RuntimeError):
        return None
    if not isinstance(adapter, Additive):
        return None
    with torch.no_grad():
        norm = adapter.update_norm()
    return norm if math.isfinite(norm) else None


def _low_rank(layer: Layer) -> float | None:
    """Returns ||s B A|| through ||B A||^2 = sum((B^T B) o (A A^T)): two rank x rank matrices."""
    down = layer["lora_down.weight"].flatten(1).float()  # (rank, columns)
    up = layer["lora_up.weight"].flatten(1).float()  # (outputs, rank)
    if up.shape[1] != down.shape[0]:
        return None
    square = float(((up.t() @ up) * (down @ down.t())).sum())
    rank = down.shape[0]
    alpha = float(layer["alpha"]) if "alpha" in layer and layer["alpha"].numel() == 1 else 0.0
    norm = max(square, 0.0) ** 0.5 * (alpha or rank) / rank
    return norm if math.isfinite(norm) else None


def names(layers: Mapping[str, Layer]) -> list[str]:
    """Returns the algorithms of a file, and the features that make layers hard to load."""
    return list(dict.fromkeys(name for layer in layers.values() for name in adapters.kinds(layer)))
