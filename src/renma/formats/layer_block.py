"""The part and block of the model that a LoRA file's layer lies in, by its name alone."""

from __future__ import annotations

import re
from collections.abc import Iterable

from renma.config import block_names
from renma.core.errors import UserError
from renma.formats import module_names

_TEXT = {"text_encoder": "TE", "text_encoder_2": "TE2"}
_STARTS = ("TE", "BASE", "IN", "M", "OUT")


def place(key: str) -> tuple[str, str]:
    """Returns part and path; a layer of a model that is not known keeps its key.

    Args:
        key: kohya's layer key.
    """
    try:
        return module_names.module_path(key)
    except UserError:
        return "unknown model", key


def per_block(keys: Iterable[str]) -> int:
    """Returns the layers of a down block: 2 in every Stable Diffusion, fewer in small models.

    A file tells it by the highest number that it names; one with text layers alone means nothing.
    """
    numbers = re.findall(r"unet_down_blocks_\d+_(?:attentions|resnets)_(\d+)_", "\n".join(keys))
    return 1 + max(map(int, numbers)) if numbers else 2


def label(part: str, path: str, layers: int) -> str:
    """Returns the block's label: TE, TE2, BASE, IN00 .. IN11, M00, OUT00 .. OUT11.

    Args:
        part: of the model, and
        path: in it, as :func:`place` says.
        layers: of a down block, as :func:`per_block` says.
    """
    if part != "unet":
        return _TEXT.get(part, "?")
    return block_names.label(path, layers)


def order(block: str) -> tuple[int, str]:
    """Returns what sorts labels as the model computes: text, input, middle, output."""
    found = next((i for i, start in enumerate(_STARTS) if block.startswith(start)), len(_STARTS))
    return found, block
