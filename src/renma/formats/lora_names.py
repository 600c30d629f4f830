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


def join(layers: Iterable[tuple[str, Mapping[str, T]]]) -> dict[str, T]:
    """Returns a file's tensors from layer key and {suffix: tensor}."""
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
