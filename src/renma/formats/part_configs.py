"""How the parts of a single file are built: sizes from its shapes, the rest from published models.

What leaves no trace in shapes (number of heads, activations, the VAE's factor, the noise schedule)
is the same for every model of a family; ``assets/stable_diffusion`` has it. No torch.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from renma import assets

Shapes = Mapping[str, tuple[int, ...]]
Config = dict[str, Any]
HEAD = 64
"""Numbers of one attention head in OpenCLIP, CLIP and the U-Nets of SD 2.x and SDXL."""


@cache
def _text(family: str) -> str:
    return (assets.STABLE_DIFFUSION / f"{family}.json").read_text(encoding="utf-8")


def published(family: str) -> dict[str, Config]:
    """Returns the configurations of a family's published model, by part; ``scheduler`` too."""
    return json.loads(_text(family))


def config_of(part: str, family: str, shapes: Shapes) -> Config:
    """Returns the configuration of a part with the shapes of its weights.

    Args:
        part: ``unet``, ``vae``, ``text_encoder`` or ``text_encoder_2``.
        family: sd1, sd2 or sdxl.
        shapes: by diffusers' names, text encoders with ``text_model.``.
    """
    known = published(family)[part]
    if part == "unet":
        return known | _unet(family, shapes)
    return known | (_vae(shapes) if part == "vae" else _text_encoder(shapes))


def _unet(family: str, shapes: Shapes) -> Config:
    count = _count(shapes, r"down_blocks\.(\d+)\.")
    channels = [shapes[f"down_blocks.{i}.resnets.0.conv1.weight"][0] for i in range(count)]
    head = "down_blocks.{}.attentions.0."
    depths = [
        _count(shapes, re.escape(head.format(i)) + r"transformer_blocks\.(\d+)\.")
        for i in range(count)
    ]
    down = ["CrossAttnDownBlock2D" if depth else "DownBlock2D" for depth in depths]
    up = ["CrossAttnUpBlock2D" if depth else "UpBlock2D" for depth in reversed(depths)]
    found: Config = {
        "in_channels": shapes["conv_in.weight"][1],
        "out_channels": shapes["conv_out.weight"][0],
        "block_out_channels": channels,
        "layers_per_block": _count(shapes, r"down_blocks\.0\.resnets\.(\d+)\."),
        "down_block_types": down,
        "up_block_types": up,
    }
    crossing = (s for name, s in shapes.items() if name.endswith("attn2.to_k.weight"))
    found["cross_attention_dim"] = next(crossing)[1]
    if family != "sd1":  # SD 1 has 8 heads at every level
        found["attention_head_dim"] = [heads(width) for width in channels]
    if family == "sdxl":
        found["transformer_layers_per_block"] = [max(1, depth) for depth in depths]
        found["projection_class_embeddings_input_dim"] = shapes["add_embedding.linear_1.weight"][1]
    return found


def _vae(shapes: Shapes) -> Config:
    count = _count(shapes, r"encoder\.down_blocks\.(\d+)\.")
    channels = [shapes[f"encoder.down_blocks.{i}.resnets.0.conv1.weight"][0] for i in range(count)]
    return {
        "in_channels": shapes["encoder.conv_in.weight"][1],
        "out_channels": shapes["decoder.conv_out.weight"][0],
        "latent_channels": shapes["decoder.conv_in.weight"][1],
        "block_out_channels": channels,
        "layers_per_block": _count(shapes, r"encoder\.down_blocks\.0\.resnets\.(\d+)\."),
        "down_block_types": ["DownEncoderBlock2D"] * count,
        "up_block_types": ["UpDecoderBlock2D"] * count,
    }


def _text_encoder(shapes: Shapes) -> Config:
    vocabulary, width = shapes["text_model.embeddings.token_embedding.weight"]
    found: Config = {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": shapes["text_model.encoder.layers.0.mlp.fc1.weight"][0],
        "num_attention_heads": heads(width),
        "num_hidden_layers": _count(shapes, r"text_model\.encoder\.layers\.(\d+)\."),
        "max_position_embeddings": shapes["text_model.embeddings.position_embedding.weight"][0],
    }
    if projection := shapes.get("text_projection.weight"):
        found["projection_dim"] = projection[0]
    return found


def heads(width: int) -> int:
    """Returns the attention heads of a width, at least one."""
    return max(1, width // HEAD)


def _count(shapes: Shapes, pattern: str) -> int:
    """Returns how many numbered things there are whose names begin so."""
    found = re.compile(pattern)
    return 1 + max((int(m[1]) for name in shapes if (m := found.match(name))), default=-1)
