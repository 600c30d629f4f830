"""One layer of a LoRA file as what it adds to the weight, and back as a layer of a file.

Additive algorithms alone have such a form; DoRA, (IA)3, OFT and GLoRA depend on the weight.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import torch
from torch import Tensor

from renma import adapters
from renma.adapters._additive import Additive
from renma.adapters._base import Adapter, LayerSpec
from renma.core.errors import UserError
from renma.engine import layer_facts
from renma.engine.low_rank import Factors, balanced
from renma.engine.model import DTYPES
from renma.formats import layer_limits, module_names
from renma.formats.layer_shape import weight_shape
from renma.formats.lora_names import cast_layer

Layer = dict[str, Tensor]
"""Tensors of one layer by suffix."""
_TITLES = {"ia3": "(IA)3", "oft": "OFT", "glora": "GLoRA", "mora": "MoRA"}


@dataclass(frozen=True, slots=True)
class Update:
    """What a layer adds to its weight and bias; factors where that is exact, else the whole.

    Args:
        shape: of the weight.
        factors: float32, everything included.
        whole: shaped like the weight.
        bias: (outputs,).
    """

    shape: tuple[int, ...]
    factors: Factors | None
    whole: Tensor | None
    bias: Tensor | None


def is_lora(layer: Mapping[str, Tensor]) -> bool:
    """Says whether a layer is a plain LoRA or LoCon: two factors and alpha."""
    return {"lora_down.weight", "lora_up.weight"} <= layer.keys() <= {
        "lora_down.weight", "lora_up.weight", "alpha",
    }  # fmt: skip


def restored(key: str, layer: Mapping[str, Tensor], where: Path) -> Adapter:
    """Returns the adapter that a layer's tensors make.

    Raises:
        UserError: they are damaged, not finite, beyond what is understood, or do not tell the
            layer's shape.
    """
    layer_limits.check(key, layer, where)
    for suffix, tensor in layer.items():
        if not layer_facts.is_finite(tensor):
            raise UserError(f"'{key}.{suffix}' holds NaN or infinite numbers", where=where)
    shape = weight_shape(key, layer)
    try:
        if shape is None:
            raise ValueError(f"{', '.join(sorted(layer))} do not tell the shape of the layer")
        return adapters.restore(LayerSpec.of_weight(torch.Size(shape)), layer)
    except (ValueError, IndexError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"'{key}' cannot be used: {reason}", where=where) from None


def update_of(key: str, layer: Mapping[str, Tensor], where: Path) -> Update:
    """Returns what a layer adds.

    Raises:
        UserError: what it adds depends on the base weight, as with DoRA, (IA)3, OFT and GLoRA.
    """
    kind = _kind(key, layer, where)
    adapter = None if weight_shape(key, layer) is None else restored(key, layer, where)
    if not isinstance(adapter, Additive) or adapter.magnitude is not None:
        raise UserError(
            f"'{key}' is {kind}, which cannot be added up without the weights of the base model",
            where=where,
            remedy="Merge into the model with --base MODEL, or first turn the file into plain "
            "differences: renma file convert IN OUT --to kohya --as merged --base MODEL.",
        )
    shape = adapter.spec.weight_shape
    pair = adapter.low_rank()
    with torch.no_grad():
        if pair is not None:
            return Update(shape, Factors(pair[0].float(), pair[1].float()), None, None)
        whole, bias = adapter.apply_weight(torch.zeros(shape), torch.zeros(shape[0]))
    moved = bias is not None and bool(bias.any())
    return Update(shape, None, whole, bias if moved else None)


def scale_of(layer: Mapping[str, Tensor]) -> float:
    """Returns alpha / rank of a LoRA layer; 1 for other algorithms and where alpha is left out."""
    down, alpha = layer.get("lora_down.weight"), layer.get("alpha")
    if down is None or alpha is None:
        return 1.0
    return (float(alpha) or down.shape[0]) / down.shape[0]


def in_precision(layer: Mapping[str, Tensor], name: str) -> Layer:
    """Returns a layer in the precision asked for; ``keep`` leaves it as it is."""
    return dict(layer) if name == "keep" else cast_layer(layer, DTYPES[name])


def lora_layer(
    factors: Factors, shape: tuple[int, ...], dtype: torch.dtype, alpha: float | None = None
) -> Layer:
    """Returns factors as a file's LoRA layer: up @ down * alpha / rank is their product.

    Args:
        factors: of the update, everything included.
        shape: of the weight, (outputs, inputs) or (outputs, inputs, height, width).
        dtype: of the file.
        alpha: default: the rank, so the scale is 1.
    """
    rank = factors.rank
    stored = torch.tensor(float(rank) if alpha is None else alpha).to(dtype)
    # the scale in force is that of the rounded alpha
    factors = balanced(factors.times(rank / float(stored)))
    up, down = factors.up.to(dtype), factors.down.to(dtype)
    if len(shape) == 4:
        up, down = up[:, :, None, None], down.reshape(rank, *shape[1:])
    return {
        "lora_down.weight": down.contiguous(),
        "lora_up.weight": up.contiguous(),
        "alpha": stored,
    }


def whole_layer(whole: Tensor, bias: Tensor | None, dtype: torch.dtype) -> Layer:
    """Returns a whole difference as a file's layer: ``diff``, or ``w_norm`` of a norm."""
    names = ("w_norm", "b_norm") if whole.dim() == 1 else ("diff", "diff_b")
    layer = {names[0]: whole.to(dtype)}
    return layer if bias is None else layer | {names[1]: bias.to(dtype)}


def precision(name: str, layers: Iterable[Mapping[str, Tensor]]) -> torch.dtype:
    """Returns the precision of a new file: the one asked for, or the widest of the old ones."""
    if name != "keep":
        return DTYPES[name]
    # alpha is often kept in float32 beside factors in half precision; 8 bits hold no new factors
    found = {
        t.dtype if t.element_size() > 1 else torch.float16
        for layer in layers
        for t in layer.values()
        if t.is_floating_point() and t.dim()
    }
    return reduce(torch.promote_types, found) if found else torch.float32


def block(key: str) -> str:
    """Returns the part of the model a layer lies in: text_encoder, down_blocks.0, mid_block."""
    part, path = module_names.module_path(key)
    words = path.split(".")
    return part if part != "unet" else ".".join(words[: 1 if words[0] == "mid_block" else 2])


def is_conv(layer: Mapping[str, Tensor]) -> bool:
    """Says whether a LoRA layer belongs to a convolution larger than 1x1."""
    kernels = (layer.get("lora_down.weight"), layer.get("lora_mid.weight"))
    return any(t is not None and t.dim() == 4 and t.shape[2:].numel() > 1 for t in kernels)


def _kind(key: str, layer: Mapping[str, Tensor], where: Path) -> str:
    """Returns the name of a layer's algorithm."""
    if "dora_scale" in layer:
        return "DoRA"
    try:
        return _TITLES.get(name := adapters.algorithm(layer), name)
    except ValueError as error:
        raise UserError(f"'{key}': {error}", where=where) from None
