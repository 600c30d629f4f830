"""Weights by diffusers' names as one file in the names of Stability's own code.

The inverse of what :mod:`renma.formats.checkpoint` reads: CLIP-L as transformers names it, OpenCLIP
with query, key and value in one tensor and its projection turned, the autoencoder's attention as
1x1 kernels.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from renma.formats import vae_names
from renma.formats.checkpoint import AROUND, IN_BLOCK, Family
from renma.formats.module_names import to_stability, with_text_model

if TYPE_CHECKING:
    from torch import Tensor

State = Mapping[str, "Tensor"]
_CLIP = {"sd1": "cond_stage_model.transformer.", "sdxl": "conditioner.embedders.0.transformer."}
_OPEN_CLIP = {
    ("sd2", "text_encoder"): "cond_stage_model.model.",
    ("sdxl", "text_encoder_2"): "conditioner.embedders.1.model.",
}
_LAYER = re.compile(r"text_model\.encoder\.layers\.(\d+)\.(.+)\.(weight|bias)")


def single_file(family: Family, parts: Mapping[str, State]) -> dict[str, Tensor]:
    """Returns the tensors of a checkpoint.

    Args:
        family: sd1, sd2 or sdxl.
        parts: weights by diffusers' names of unet, vae, text_encoder, text_encoder_2.
    """
    found: dict[str, Tensor] = {}
    for part, state in parts.items():
        if part == "unet":
            found |= {f"model.diffusion_model.{unet_name(n, state)}": t for n, t in state.items()}
        elif part == "vae":
            found |= _vae(state)
        elif prefix := _OPEN_CLIP.get((family, part)):
            found |= _open_clip(state, prefix)
        else:
            found |= {_CLIP[family] + with_text_model(n): t for n, t in state.items()}
    return found


def unet_name(name: str, state: State) -> str:
    """Returns the name of a U-Net's weight or bias; blocks of two layers."""
    module, _, kind = name.rpartition(".")
    path = to_stability(module)
    block = name.split(".upsamplers.")[0]
    if block != name and not any(other.startswith(f"{block}.attentions.") for other in state):
        path = path.replace(".2.conv", ".1.conv")  # it stands behind what is there
    return f"{path}.{kind}"


def _vae(state: State) -> dict[str, Tensor]:
    levels = vae_names.levels(state)
    found: dict[str, Tensor] = {}
    for name, tensor in state.items():
        kernel = tensor[..., None, None] if vae_names.is_matrix(name) else tensor
        found[f"first_stage_model.{vae_names.to_stability(name, levels)}"] = kernel
    return found


def _open_clip(state: State, prefix: str) -> dict[str, Tensor]:
    import torch

    around = {new: old for old, new in AROUND.items()}
    inside = {new: old for old, new in IN_BLOCK.items()}
    named = {with_text_model(name): tensor for name, tensor in state.items()}
    found: dict[str, Tensor] = {}
    for name, tensor in named.items():
        if name in around:
            turned = name.startswith("text_projection")
            found[prefix + around[name]] = tensor.t().contiguous() if turned else tensor
            continue
        match = _LAYER.fullmatch(name)
        assert match is not None, name
        head, layer, kind = f"{prefix}transformer.resblocks.{match[1]}", match[2], match[3]
        if layer == "self_attn.q_proj":
            three = [named[name.replace("q_proj", f"{letter}_proj")] for letter in "qkv"]
            found[f"{head}.attn.in_proj_{kind}"] = torch.cat(three)
        elif layer in inside:
            found[f"{head}.{inside[layer]}.{kind}"] = tensor
    return found
