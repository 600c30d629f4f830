"""Names inside the autoencoder: Stability's own code and diffusers, both ways.

Stability counts the decoder's levels from the picture inwards, diffusers in the order they are run;
the one keeps the attention's matrices as 1x1 convolutions, the other as matrices. Folders saved
before diffusers 0.18 have names of their own for that attention.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

PREFIXES = ("first_stage_model.", "vae.", "")
"""Before the autoencoder's names in a checkpoint, or in a file of its own."""

_OUTER = {"norm_out": "conv_norm_out"}
_RESNET = {"nin_shortcut": "conv_shortcut"}
_ATTENTION = {"norm": "group_norm", "q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"}
_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
_TO_OUTER, _TO_RESNET, _TO_ATTENTION = (
    {new: old for old, new in table.items()} for table in (_OUTER, _RESNET, _ATTENTION)
)
_LEVEL = re.compile(r"(encoder\.down|decoder\.up)\.(\d+)\.(block|downsample|upsample)\.(.+)")
_BLOCK = re.compile(
    r"(encoder\.down|decoder\.up)_blocks\.(\d+)\.(resnets|downsamplers|upsamplers)\.(\d+)\.(.+)"
)


def levels(names: Iterable[str]) -> int:
    """Returns how many levels a decoder has, by its names in either spelling."""
    found = (re.search(r"decoder\.up(?:_blocks)?\.(\d+)\.", name) for name in names)
    return 1 + max((int(match[1]) for match in found if match), default=-1)


def is_stability(names: Iterable[str]) -> bool:
    """Says whether names without their prefix are those of Stability's code."""
    return any(name.startswith(("encoder.down.", "decoder.up.")) for name in names)


def from_stability(name: str, levels: int) -> str:
    """Returns diffusers' name of a weight or bias; others come back as they are."""
    module, _, kind = name.rpartition(".")
    if match := _LEVEL.fullmatch(module):
        side, number, what, rest = match[1], int(match[2]), match[3], match[4]
        if side == "decoder.up":
            number = levels - 1 - number
        head = f"{side}_blocks.{number}"
        if what != "block":
            return f"{head}.{what}rs.0.{rest}.{kind}"
        inner, _, layer = rest.partition(".")
        return f"{head}.resnets.{inner}.{_RESNET.get(layer, layer)}.{kind}"
    if match := re.fullmatch(r"(\w+)\.mid\.block_([12])\.(\w+)", module):
        layer = _RESNET.get(match[3], match[3])
        return f"{match[1]}.mid_block.resnets.{int(match[2]) - 1}.{layer}.{kind}"
    if match := re.fullmatch(r"(\w+)\.mid\.attn_1\.(\w+)", module):
        layer = _ATTENTION.get(match[2], match[2])
        return f"{match[1]}.mid_block.attentions.0.{layer}.{kind}"
    side, _, layer = module.rpartition(".")
    return ".".join(part for part in (side, _OUTER.get(layer, layer), kind) if part)


def to_stability(name: str, levels: int) -> str:
    """Returns Stability's name of a weight or bias: the inverse of the above."""
    module, _, kind = name.rpartition(".")
    if match := _BLOCK.fullmatch(module):
        side, number, what, inner, layer = match.groups()
        place = levels - 1 - int(number) if side == "decoder.up" else int(number)
        if what != "resnets":
            return f"{side}.{place}.{what.removesuffix('rs')}.{layer}.{kind}"
        return f"{side}.{place}.block.{inner}.{_TO_RESNET.get(layer, layer)}.{kind}"
    if match := re.fullmatch(r"(\w+)\.mid_block\.resnets\.([01])\.(\w+)", module):
        layer = _TO_RESNET.get(match[3], match[3])
        return f"{match[1]}.mid.block_{int(match[2]) + 1}.{layer}.{kind}"
    if match := re.fullmatch(r"(\w+)\.mid_block\.attentions\.0\.([\w.]+)", module):
        return f"{match[1]}.mid.attn_1.{_TO_ATTENTION.get(match[2], match[2])}.{kind}"
    side, _, layer = module.rpartition(".")
    return ".".join(part for part in (side, _TO_OUTER.get(layer, layer), kind) if part)


def renewed(name: str) -> str:
    """Returns today's name of a weight that diffusers saved before version 0.18."""
    match = re.fullmatch(r"(.+\.attentions\.0)\.(query|key|value|proj_attn)\.(\w+)", name)
    return f"{match[1]}.{_OLD_ATTENTION[match[2]]}.{match[3]}" if match else name


def is_matrix(name: str) -> bool:
    """Says whether a weight, by diffusers' name, is a matrix that Stability keeps as a kernel."""
    return re.fullmatch(r".+\.attentions\.0\.to_(q|k|v|out\.0)\.weight", name) is not None
