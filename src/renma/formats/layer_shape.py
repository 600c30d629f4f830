"""The shape of the weight that a LoRA file's layer was made for; files do not say it."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from renma.core.errors import UserError
from renma.formats import module_names

Shape = tuple[int, ...]
_CONV = re.compile(r"(^|\.)(conv1|conv2|conv_in|conv_out|(down|up)samplers\.\d\.conv)$")


def weight_shape(key: str, layer: Mapping[str, Tensor]) -> Shape | None:
    """Returns (outputs, inputs), (outputs, inputs, height, width) or (channels,) of a norm.

    LoHa and LoKr store the factors of a convolution as matrices: where the layer's name is that of
    a 3x3 convolution they are unfolded, a 1x1 one is described as (outputs, inputs).

    Args:
        key: kohya's layer key.
        layer: tensors by canonical suffix.

    Returns:
        None where the tensors do not tell it ((IA)3, OFT, MoRA), or contradict themselves.
    """
    try:
        return _told(key, layer)
    except (IndexError, KeyError, ValueError):
        return None


def _told(key: str, layer: Mapping[str, Tensor]) -> Shape | None:
    for name in ("diff", "w_norm"):
        if name in layer:
            return tuple(layer[name].shape)
    if "lora_up.weight" in layer:
        down = layer["lora_down.weight"]
        kernel = layer.get("lora_mid.weight", down).shape[2:]
        return (layer["lora_up.weight"].shape[0], down.shape[1], *kernel)
    if "hada_w1_a" in layer:
        a, b = layer["hada_w1_a"], layer["hada_w1_b"]
        if "hada_t1" in layer:
            return (a.shape[1], b.shape[1], *layer["hada_t1"].shape[2:])
        return _unfolded(key, a.shape[0], b.shape[1])
    if "b1.weight" in layer and "b2.weight" in layer:
        return (layer["b1.weight"].shape[0], *layer["b2.weight"].shape[1:])
    if any(name.startswith("lokr_") for name in layer):
        return _of_kronecker(key, layer)
    return None


def _of_kronecker(key: str, layer: Mapping[str, Tensor]) -> Shape:
    if "lokr_w1" in layer:
        rows, columns = layer["lokr_w1"].shape
    else:
        rows, columns = layer["lokr_w1_a"].shape[0], layer["lokr_w1_b"].shape[1]
    whole = layer.get("lokr_w2")
    if whole is not None:
        return (rows * whole.shape[0], columns * whole.shape[1], *whole.shape[2:])
    a, b = layer["lokr_w2_a"], layer["lokr_w2_b"]
    if "lokr_t2" in layer:
        return (rows * a.shape[1], columns * b.shape[1], *layer["lokr_t2"].shape[2:])
    return _unfolded(key, rows * a.shape[0], columns * b.shape[1])


def _unfolded(key: str, outputs: int, columns: int) -> Shape:
    try:
        path = module_names.module_path(key)[1]
    except UserError:
        path = ""
    if columns % 9 == 0 and _CONV.search(path):
        return (outputs, columns // 9, 3, 3)
    return (outputs, columns)
