"""One layer's adapter tensors in any library's spelling, turned into kohya's and LyCORIS'.

PEFT: ``lora_A``, ``lora_B``, ``lora_magnitude_vector``, ``ia3_l``, ``hada_*``, ``lokr_*``, with or
without ``base_model.model.<path>.`` before them; its alpha is not in the tensors. Older diffusers:
``lora.down``, ``lora_linear_layer.down``. The MoRA fork of PEFT keeps its square matrix as
``lora_A``, repeated as ``lora_B``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

_LYCORIS = (
    "lora_down.weight", "lora_up.weight", "lora_mid.weight", "alpha", "dora_scale", "rank",
    "hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2",
    "lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2",
    "on_input", "diff", "diff_b", "w_norm", "b_norm", "a1.weight", "a2.weight", "b1.weight",
    "b2.weight", "bm.weight", "oft_blocks", "rescale", "mora", "mora_type", "bias_scaled",
    "q_layer.weight", "p_layer.weight", "lambda_layer", "weight", "scalar",
)  # fmt: skip
CANONICAL = frozenset(_LYCORIS)
"""Suffixes of kohya's and LyCORIS' files, and the two of MoRA and (IA)3 that only renma writes."""

RANKED = ("lora_down.weight", "hada_w1_b", "lokr_w2_b", "lokr_w1_b")
"""Tensors whose first axis is the rank that alpha is divided by."""

_SPELLINGS = {
    r"lora_A(\.[^.]+)?\.weight|lora_A": "lora_down.weight",
    r"lora_B(\.[^.]+)?\.weight|lora_B": "lora_up.weight",
    r"lora(_linear_layer)?\.down\.weight": "lora_down.weight",
    r"lora(_linear_layer)?\.up\.weight": "lora_up.weight",
    r"lora_magnitude_vector(\.[^.]+)?(\.weight)?": "lora_magnitude_vector",
    r"ia3_l(\.[^.]+)?": "ia3_l",
    r"lora(_linear_layer)?\.alpha": "alpha",
    "|".join(map(re.escape, sorted(CANONICAL, key=len, reverse=True))): "",
}
_ENDING = re.compile(
    r"(?:(?P<path>.*?)\.)??(?:"
    + "|".join(f"(?P<s{i}>{pattern})" for i, pattern in enumerate(_SPELLINGS))
    + r")\Z"
)
_MEANINGS = tuple(_SPELLINGS.values())
_MULTIPLIED = (
    ("lora_up.weight",), ("hada_w1_a",), ("lokr_w1",), ("lokr_w1_a",), ("a2.weight", "b2.weight"),
)  # fmt: skip
"""Tensors that LyCORIS multiplies ``scalar`` into when it saves a layer of each algorithm."""
MORA_TYPE = 6
"""The type that the fork recommends; its files do not say which one they are."""


def split(name: str) -> tuple[str, str] | None:
    """Returns (what stands before, canonical suffix) of a tensor's name; None if unknown.

    ``lora_magnitude_vector`` and ``ia3_l`` keep their names: their values have to be changed too.
    """
    match = _ENDING.fullmatch(name)
    if match is None:
        return None
    index = next(i for i in range(len(_MEANINGS)) if match[f"s{i}"] is not None)
    return match["path"] or "", _MEANINGS[index] or match[f"s{index}"]


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
