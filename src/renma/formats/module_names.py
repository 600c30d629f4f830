"""Layer names of LoRA files: kohya's flat keys and the module paths of diffusers, both ways.

kohya-ss/sd-scripts joins a module path by ``_``, which cannot be undone by splitting: a vocabulary
of the words inside paths undoes it, so any size of U-Net works. Its SDXL keys follow Stability's
own U-Net (``input_blocks_4_1_...``) instead of diffusers' (``down_blocks_1_attentions_0_...``);
both are understood, SDXL is written as kohya writes it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from renma.core.errors import UserError

PREFIXES = {
    "lora_unet_": "unet",
    "lora_te1_": "text_encoder",
    "lora_te2_": "text_encoder_2",
    "lora_te_": "text_encoder",
}
"""Beginning of a key to the part of the model; SDXL has two text encoders, te1 and te2."""

_WORDS = frozenset(
    word
    for line in (
        "down_blocks up_blocks mid_block resnets attentions downsamplers upsamplers",
        "transformer_blocks attn1 attn2 to_q to_k to_v to_out ff net proj proj_in proj_out",
        "norm norm1 norm2 norm3 group_norm norm_out conv conv1 conv2 conv_in conv_out",
        "conv_norm_out conv_shortcut time_emb_proj time_embedding add_embedding class_embedding",
        "linear_1 linear_2 encoder_hid_proj",
        "input_blocks middle_block output_blocks in_layers out_layers emb_layers skip_connection",
        "op time_embed label_emb out",
        "text_model encoder layers self_attn q_proj k_proj v_proj out_proj mlp fc1 fc2",
        "layer_norm1 layer_norm2 final_layer_norm embeddings token_embedding position_embedding",
        "text_projection",
    )
    for word in line.split()
)
_LONGEST = max(word.count("_") for word in _WORDS) + 1

_RESNET = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
_OUTER = {
    "input_blocks.0.0": "conv_in",
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "label_emb.0.0": "add_embedding.linear_1",
    "label_emb.0.2": "add_embedding.linear_2",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
}
_MIDDLE = {"0": "resnets.0", "1": "attentions.0", "2": "resnets.1"}
_FROM_RESNET, _FROM_OUTER, _FROM_MIDDLE = (
    {new: old for old, new in table.items()} for table in (_RESNET, _OUTER, _MIDDLE)
)
_STABILITY = re.compile(r"(input_blocks|middle_block|output_blocks|time_embed|label_emb|out)\.")
_PER_BLOCK = 3
"""Stability's numbers of one diffusers block: two layers, then what changes the size."""


def module_path(key: str) -> tuple[str, str]:
    """Returns (part, diffusers module path) of a kohya key.

    Args:
        key: such as ``lora_unet_mid_block_attentions_0_proj_in``; part is ``unet``,
            ``text_encoder`` or ``text_encoder_2``.

    Raises:
        UserError: no prefix of the format, or a name that is in no such model.
    """
    for prefix, part in PREFIXES.items():
        if key.startswith(prefix):
            path = spelled(key.removeprefix(prefix))
            if path is None:
                break
            if part == "unet":
                path = from_stability(path)
            return (part, path if part == "unet" else with_text_model(path))
    raise UserError(
        f"'{key[:120]}' is no layer of a Stable Diffusion model",
        remedy="LoRAs of SD 1.x, SD 2.x and SDXL are understood.",
    )


def layer_key(part: str, path: str, *, sdxl: bool = False) -> str:
    """Returns kohya's key of a layer.

    Args:
        part: ``unet``, ``text_encoder`` or ``text_encoder_2``.
        path: diffusers module path.
        sdxl: write Stability's U-Net names and ``lora_te1_`` as kohya does for SDXL.
    """
    if part == "unet":
        return "lora_unet_" + flat(to_stability(path) if sdxl else path)
    path = with_text_model(path)
    if part == "text_encoder_2":
        return "lora_te2_" + flat(path)
    return ("lora_te1_" if sdxl else "lora_te_") + flat(path)


def flat(path: str) -> str:
    """Returns a module path with ``_`` for ``.``."""
    return path.replace(".", "_")


def spelled(text: str) -> str | None:
    """Returns the module path whose flat form is ``text``; None if a word is unknown."""
    parts, words, place = text.split("_"), [], 0
    while place < len(parts):
        if parts[place].isdecimal():
            words.append(parts[place])
            place += 1
            continue
        for length in range(min(_LONGEST, len(parts) - place), 0, -1):
            word = "_".join(parts[place : place + length])
            if word in _WORDS:
                words.append(word)
                place += length
                break
        else:
            return None
    return ".".join(words)


def with_text_model(path: str) -> str:
    """Returns a text encoder's path with ``text_model.``, which newer transformers leave out."""
    return path if path.startswith(("text_model.", "text_projection")) else f"text_model.{path}"


def from_stability(path: str) -> str:
    """Returns diffusers' path of a layer of Stability's U-Net; other paths as they are."""
    if not _STABILITY.match(path):
        return path
    if path in _OUTER:
        return _OUTER[path]
    block, _, rest = path.partition(".")
    number, _, rest = rest.partition(".")
    if block == "middle_block":
        head = f"mid_block.{_MIDDLE.get(number, number)}"
        return f"{head}.{_RESNET.get(rest, rest)}"
    place, _, rest = rest.partition(".")
    index = int(number) - (1 if block == "input_blocks" else 0)
    outer, inner = divmod(index, _PER_BLOCK)
    side = "down_blocks" if block == "input_blocks" else "up_blocks"
    if rest == "op":
        return f"{side}.{outer}.downsamplers.0.conv"
    if rest == "conv":
        return f"{side}.{outer}.upsamplers.0.conv"
    kind = "attentions" if place == "1" else "resnets"
    return f"{side}.{outer}.{kind}.{inner}.{_RESNET.get(rest, rest)}"


def to_stability(path: str) -> str:
    """Returns the path of a layer in Stability's SDXL U-Net: the inverse of the above."""
    if _STABILITY.match(path):
        return path
    if path in _FROM_OUTER:
        return _FROM_OUTER[path]
    words = path.split(".")
    if words[0] == "mid_block" and len(words) > 3:
        rest = ".".join(words[3:])
        return f"middle_block.{_FROM_MIDDLE['.'.join(words[1:3])]}.{_FROM_RESNET.get(rest, rest)}"
    if words[0] not in {"down_blocks", "up_blocks"} or len(words) < 5:
        return path
    outer, kind, inner, rest = int(words[1]), words[2], int(words[3]), ".".join(words[4:])
    down = words[0] == "down_blocks"
    block = "input_blocks" if down else "output_blocks"
    if kind == "downsamplers":
        return f"{block}.{_PER_BLOCK * (outer + 1)}.0.op"
    if kind == "upsamplers":
        return f"{block}.{_PER_BLOCK * outer + 2}.2.conv"
    index = _PER_BLOCK * outer + inner + (1 if down else 0)
    return f"{block}.{index}.{1 if kind == 'attentions' else 0}.{_FROM_RESNET.get(rest, rest)}"


def is_sdxl(layers: Iterable[tuple[str, str]], metadata: Mapping[str, str] | None = None) -> bool:
    """Says whether (part, diffusers path) pairs are those of an SDXL model.

    Only SDXL has a second text encoder and attention stacks more than one block deep; a file that
    shows neither is judged by its metadata.
    """
    facts = metadata or {}
    named = facts.get("ss_base_model_version", "") + facts.get("modelspec.architecture", "")
    if "sdxl" in named or "stable-diffusion-xl" in named:
        return True
    return any(
        part == "text_encoder_2" or re.search(r"transformer_blocks\.[1-9]|add_embedding", path)
        for part, path in layers
    )


def part_of(path: str) -> str:
    """Returns the part that a bare module path belongs to, told by its words."""
    return "text_encoder" if re.match(r"(text_model|encoder\.layers|text_proj)", path) else "unet"
