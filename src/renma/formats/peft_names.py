"""One layer's adapter tensors in any library's spelling, turned into kohya's and LyCORIS'.

PEFT: ``lora_A``, ``lora_B``, ``lora_magnitude_vector``, ``ia3_l``, ``hada_*``, ``lokr_*``, with or
without ``base_model.model.<path>.`` before them; its alpha is not in the tensors. Older diffusers:
``lora.down``, ``lora_linear_layer.down``. The MoRA fork of PEFT keeps its square matrix as
``lora_A``, repeated as ``lora_B``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from renma.formats.suffixes import CANONICAL, RANKED, split

__all__ = ["CANONICAL", "MORA_TYPE", "RANKED", "canonical", "split", "with_scalar"]

_MULTIPLIED = (
    ("lora_up.weight",), ("hada_w1_a",), ("lokr_w1",), ("lokr_w1_a",), ("a2.weight", "b2.weight"),
)  # fmt: skip
"""Tensors that LyCORIS multiplies ``scalar`` into when it saves a layer of each algorithm."""
MORA_TYPE = 6
"""The type that the fork recommends; its files do not say which one they are."""


def canonical(
    tensors: Mapping[str, Tensor], shape: Sequence[int] | None = None
) -> dict[str, Tensor]:
    """Returns one layer's tensors by kohya's and LyCORIS' suffixes.

    Args:
        tensors: one layer's tensors; names may carry the module path in front. PEFT keeps alpha in
            its configuration: give it as ``alpha``, and the configured rank as ``rank`` where the
            tensors do not tell it (a Kronecker pair that is full on both sides). Without them the
            scale is 1.
        shape: the base weight's shape. An (IA)3 vector of a convolution is (1, d, 1, 1) on either
            side in PEFT, so nothing else tells inputs from outputs; without it: outputs.

    Returns:
        New names; values are shared with the input where nothing had to be computed.

    Raises:
        ValueError: two tensors mean the same, a PEFT Kronecker pair has alpha without rank, or a
            ``scalar`` stands beside nothing that it multiplies.
    """
    found: dict[str, Tensor] = {}
    peft = False
    for name, tensor in tensors.items():
        path, suffix = split(name) or ("", name)
        peft = peft or path.startswith("base_model.") or suffix == "ia3_l" or ".lora_A" in name
        if suffix in found:
            raise ValueError(f"{name}: the layer has {suffix} twice")
        found[suffix] = tensor
    _mora(found)
    _magnitude(found)
    _ia3(found, shape)
    found = with_scalar(found)
    if "scalar" in found:
        raise ValueError("a scalar that multiplies nothing, or is no single number")
    rank = found.pop("rank", None)  # only PEFT's configuration has it
    if (peft or rank is not None) and {"lokr_w1", "lokr_w2"} <= found.keys() and "alpha" in found:
        _full_kronecker(found, rank)
    return found


def with_scalar(layer: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns a layer with LyCORIS' ``scalar`` multiplied into the factor it belongs to.

    LyCORIS' ``use_scalar`` multiplies the update by one trained number. It saves the product, so
    other programs know no ``scalar``; a file that holds one is made whole as LyCORIS would. One
    that multiplies nothing known, or is no single number, stays.
    """
    scalar = layer.get("scalar")
    names = next((names for names in _MULTIPLIED if layer.keys() >= set(names)), ())
    if scalar is None or not names or scalar.numel() != 1:
        return dict(layer)
    found = {name: tensor for name, tensor in layer.items() if name != "scalar"}
    for name in names:
        factor = found[name]
        found[name] = (factor.float() * float(scalar)).to(factor.dtype)
    return found


def _mora(found: dict[str, Tensor]) -> None:
    """Takes a square lora_A without a partner, or with an equal one, for MoRA's matrix."""
    down, up = found.get("lora_down.weight"), found.get("lora_up.weight")
    if down is None or down.dim() != 2 or down.shape[0] != down.shape[1]:
        return
    if up is None or (up.shape == down.shape and torch.equal(up, down)):
        found["mora"] = found.pop("lora_down.weight")
        found.pop("lora_up.weight", None)
        found.setdefault("mora_type", torch.tensor(MORA_TYPE))


def _magnitude(found: dict[str, Tensor]) -> None:
    """Gives PEFT's DoRA magnitudes, (outputs,) or (1, outputs, 1, 1), LyCORIS' place: axis 0."""
    vector = found.pop("lora_magnitude_vector", None)
    if vector is None:
        return
    down = found.get("lora_down.weight")
    dims = down.dim() if down is not None else max(2, vector.dim())
    found["dora_scale"] = vector.reshape(-1, *[1] * (dims - 1))


def _ia3(found: dict[str, Tensor], shape: Sequence[int] | None) -> None:
    """Turns PEFT's factor l, which scales the bias with the output, into LyCORIS' w = l - 1."""
    factor = found.pop("ia3_l", None)
    if factor is None:
        return
    weight = factor - 1
    if weight.dtype == torch.float64:  # written wide, to keep the bits of w beside the one
        weight = weight.float()
    if factor.dim() == 4:  # (1, d, 1, 1) on either side
        width = factor.numel()
        on_input = shape is not None and width == shape[1] and width != shape[0]
    else:  # (outputs, 1) or (1, inputs)
        on_input = factor.dim() == 2 and factor.shape[0] == 1 and factor.shape[1] != 1
        weight = weight.reshape(-1)
    found["weight"] = weight
    found["on_input"] = torch.tensor(int(on_input))
    if not on_input:
        found["bias_scaled"] = torch.tensor(1)


def _full_kronecker(found: dict[str, Tensor], rank: Tensor | None) -> None:
    """Multiplies alpha / rank into w1: PEFT applies it to a full pair, LyCORIS' readers do not."""
    alpha = found.pop("alpha")
    if rank is None:
        raise ValueError("a full Kronecker pair of PEFT needs its rank to apply alpha")
    scale = float(alpha) / float(rank)
    if scale != 1:
        found["lokr_w1"] = found["lokr_w1"] * scale
