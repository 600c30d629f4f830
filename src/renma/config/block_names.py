"""Where a U-Net layer stands: label and index of its block, and SDXL's names in files.

Paths are diffusers'. Block-weight tools count input and output blocks as Stability's code does: a
down block's layers and its downsampler one after another. kohya-ss/sd-scripts names SDXL's layers
in that code's way (``input_blocks_4_1_transformer_blocks_0_...``), SD 1's and 2's in diffusers'.
"""

from __future__ import annotations

import re

_INNER = {
    "norm1": "in_layers_0", "conv1": "in_layers_2", "time_emb_proj": "emb_layers_1",
    "norm2": "out_layers_0", "conv2": "out_layers_3", "conv_shortcut": "skip_connection",
}  # fmt: skip
ENDS = {
    "conv_in": "input_blocks_0_0", "conv_norm_out": "out_0", "conv_out": "out_2",
    "time_embedding.linear_1": "time_embed_0", "time_embedding.linear_2": "time_embed_2",
    "add_embedding.linear_1": "label_emb_0_0", "add_embedding.linear_2": "label_emb_0_2",
}  # fmt: skip
"""Layers outside the blocks: diffusers' path to Stability's name."""
_BLOCK = re.compile(
    r"(?:(down|up)_blocks\.(\d+)|mid_block)\.(attentions|resnets|downsamplers|upsamplers)\.(\d+)\."
)


def label(path: str, per_block: int) -> str:
    """Returns the block's label: IN00 .. IN11, M00, OUT00 .. OUT11; BASE outside the blocks.

    Args:
        path: diffusers' module path.
        per_block: layers of a down block.
    """
    place = _position(path, per_block)
    if place is None:
        return "IN00" if path == "conv_in" else "BASE"
    direction, block, layer = place
    number = (per_block + 1) * block + layer
    if direction == "mid":
        return "M00"
    return f"IN{number + 1:02d}" if direction == "down" else f"OUT{number:02d}"


def index(path: str, sdxl: bool) -> int:
    """Returns kohya's block index; the formula counts three layers a block for every model."""
    place = _position(path, 2)
    if place is None:
        if path in ("conv_out", "conv_norm_out"):
            return 22 if sdxl else 24
        return 1 if sdxl and path == "conv_in" else 0
    direction, block, layer = place
    if direction == "mid":
        if not sdxl:
            return 12
        return 11 if ".attentions." in path else 10 + 2 * layer
    if direction == "down":
        return (2 if sdxl else 1) + 3 * block + layer
    return 13 + 3 * block + layer


def sai_name(path: str, per_block: int, upsampler: int) -> str:
    """Returns an SDXL layer's name in Stability's numbering.

    Args:
        path: diffusers' module path.
        per_block: layers of a down block.
        upsampler: place of an upsampler in its output block, after the layers that are there.
    """
    place = _position(path, per_block)
    if place is None:
        return ENDS.get(path, path.replace(".", "_"))
    match = _BLOCK.match(path)
    assert match is not None
    direction, block, layer = place
    kind, rest = match[3], path[match.end() :]
    if kind == "resnets":
        rest = _INNER.get(rest, rest)
    elif kind == "downsamplers":
        rest = "op"
    number = (per_block + 1) * block + layer
    if direction == "mid":
        head = "middle_block_1" if kind == "attentions" else f"middle_block_{2 * layer}"
    elif direction == "down":
        head = f"input_blocks_{number + 1}_{int(kind == 'attentions')}"
    else:
        inner = {"resnets": 0, "attentions": 1}.get(kind, upsampler)
        head = f"output_blocks_{number}_{inner}"
    return f"{head}_{rest.replace('.', '_')}"


def _position(path: str, per_block: int) -> tuple[str, int, int] | None:
    """Returns direction, number of the block, number of the layer in it; None outside blocks.

    Samplers stand after the last layer of a down block, beside the last one of an up block.
    """
    match = _BLOCK.match(path)
    if match is None:
        return None
    direction, block, kind, layer = match.groups()
    if kind == "downsamplers":
        return "down", int(block), per_block
    if kind == "upsamplers":
        return "up", int(block), per_block
    return direction or "mid", int(block or 0), int(layer)
