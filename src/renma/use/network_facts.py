"""What a LoRA file's metadata says about its network, brought in line with its layers.

Keys and meanings: kohya-ss/sd-scripts (``ss_network_*``), whose tools read them. Hashes are the
writer's business.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from renma.formats.metadata import parse
from renma.use.layer_update import Layer, is_conv, is_lora

_OF_ONE_ALGORITHM = frozenset(
    {
        "algo", "unit", "block_size", "factor", "decompose_both", "full_matrix", "use_tucker",
        "use_cp", "use_scalar", "rs_lora", "dora_wd", "wd_on_output", "weight_decompose",
        "preset", "conv_dim", "conv_alpha", "block_dims", "block_alphas", "conv_block_dims",
        "conv_block_alphas",
    }
)  # fmt: skip
"""Entries of ``ss_network_args`` that describe ranks and algorithm."""


def described(metadata: Mapping[str, str], layers: Mapping[str, Layer]) -> dict[str, str]:
    """Returns metadata whose network facts are those of ``layers``.

    ``ss_network_dim`` and ``ss_network_alpha`` become ``Dynamic`` where layers differ.
    """
    found = {k: v for k, v in metadata.items() if k != "modelspec.hash_sha256"}
    plain = all(map(is_lora, layers.values()))
    found["ss_network_module"] = "networks.lora" if plain else "lycoris.kohya"
    small = [layer for layer in layers.values() if _ranked(layer) and not is_conv(layer)]
    conv = [layer for layer in layers.values() if _ranked(layer) and is_conv(layer)]
    found["ss_network_dim"], found["ss_network_alpha"] = _one(small or conv)
    arguments = _arguments(metadata)
    kept = {k: v for k, v in arguments.items() if not plain or k not in _OF_ONE_ALGORITHM}
    if conv and small:
        kept["conv_dim"], kept["conv_alpha"] = _one(conv)
    if kept:
        found["ss_network_args"] = json.dumps(kept, ensure_ascii=False)
    else:
        found.pop("ss_network_args", None)
    return found


def commented(metadata: Mapping[str, str], text: str) -> dict[str, str]:
    """Returns metadata whose training comment begins with ``text``, as kohya's tools do."""
    before = metadata.get("ss_training_comment", "")
    before = "" if before == "None" else before
    return {**metadata, "ss_training_comment": f"{text}; {before}" if before else text}


def _ranked(layer: Layer) -> bool:
    return "lora_down.weight" in layer


def _one(layers: list[Layer]) -> tuple[str, str]:
    """Returns rank and alpha of layers that share them."""
    ranks = {layer["lora_down.weight"].shape[0] for layer in layers}
    alphas = {_alpha(layer) for layer in layers}
    one_rank = str(*ranks) if len(ranks) == 1 else "Dynamic"
    return one_rank, str(*alphas) if len(alphas) == 1 else "Dynamic"


def _alpha(layer: Layer) -> float:
    alpha = layer.get("alpha")
    return float(alpha) if alpha is not None else float(layer["lora_down.weight"].shape[0])


def _arguments(metadata: Mapping[str, str]) -> dict[str, Any]:
    value = parse(metadata.get("ss_network_args", ""))
    return value if isinstance(value, dict) else {}
