"""Rank and alpha that a layer of a file may have, said in one sentence where it has others."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from renma.core.errors import UserError
from renma.formats.peft_names import RANKED

MOST_RANKS = 4096
"""As for training; the widest layers of SDXL have 10240 channels, real files rank 320."""


def trouble(layer: Mapping[str, Tensor]) -> tuple[str, str] | None:
    """Returns what is wrong with a layer's alpha, scalar or rank, and what to do; None if nothing.

    Args:
        layer: tensors by canonical suffix.
    """
    alpha = layer.get("alpha")
    if alpha is not None and alpha.numel() != 1:
        return f"has {alpha.numel()} numbers for alpha, not one", _AGAIN
    value = 0.0 if alpha is None else float(alpha)
    if not math.isfinite(value):
        return f"has alpha {value:g}, so its strength is unknown", _AGAIN
    if value < 0:
        return (
            f"has alpha {value:g}, below 0",
            "Have it written with a positive alpha, and use the LoRA at a negative strength.",
        )
    if "scalar" in layer:
        return "has a scalar that multiplies nothing, or is no single number", _AGAIN
    rank = max((layer[s].shape[0] for s in RANKED if s in layer and layer[s].dim()), default=0)
    if rank > MOST_RANKS:
        return (
            f"has rank {rank}, more than {MOST_RANKS}",
            "Shorten it in the program that made it, such as kohya's resize_lora.py.",
        )
    return None


_AGAIN = "Download it again, or ask who made it; `renma file verify FILE` counts all such layers."


def check(key: str, layer: Mapping[str, Tensor], where: Path) -> None:
    """Refuses a layer whose alpha or rank is none.

    Raises:
        UserError: with a remedy.
    """
    if found := trouble(layer):
        raise UserError(f"'{key}' {found[0]}", where=where, remedy=found[1])
