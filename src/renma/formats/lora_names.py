"""Names of LoRA tensors as kohya-ss/sd-scripts writes them, which every program reads.

``lora_unet_`` or ``lora_te_`` + module path with ``.`` as ``_`` + ``.`` + suffix, for example
``lora_unet_mid_block_attentions_0_proj_in.lora_down.weight``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

import torch
from torch import Tensor

T = TypeVar("T")

PREFIXES = {"unet": "lora_unet", "text_encoder": "lora_te"}


def layer_key(part: str, path: str) -> str:
    """Returns the file's name of a layer.

    Args:
        part: ``unet`` or ``text_encoder``.
        path: module path, such as ``mid_block.attentions.0.proj_in``.
    """
    return f"{PREFIXES[part]}_{path.replace('.', '_')}"


def by_layer(tensors: Mapping[str, T]) -> dict[str, dict[str, T]]:
    """Groups a file's tensors: layer key to {suffix: tensor}."""
    layers: dict[str, dict[str, T]] = {}
    for name, tensor in tensors.items():
        layer, _, suffix = name.partition(".")
        layers.setdefault(layer, {})[suffix] = tensor
    return layers


def join(layers: Iterable[tuple[str, Mapping[str, T]]]) -> dict[str, T]:
    """The inverse of :func:`by_layer`."""
    return {f"{layer}.{suffix}": t for layer, tensors in layers for suffix, t in tensors.items()}


def cast(name: str, tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Returns a tensor of a LoRA file in the file's precision.

    Marks (integers) stay as they are. So does an alpha that the precision cannot hold exactly: the
    scale of the whole layer would be off.

    Args:
        name: of the tensor in the file, or its suffix.
        tensor: the numbers.
        dtype: the file's precision.
    """
    if not tensor.is_floating_point():
        return tensor
    narrow = tensor.to(dtype)
    if name.rpartition(".")[2] == "alpha" and not torch.equal(narrow.to(tensor.dtype), tensor):
        return tensor
    return narrow


def cast_layer(layer: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """Returns one layer's tensors by suffix in the file's precision, each by :func:`cast`."""
    return {suffix: cast(suffix, tensor, dtype) for suffix, tensor in layer.items()}
