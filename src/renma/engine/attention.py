"""Which code computes attention: torch's fused kernels, xformers, or plain products."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, Literal

import torch
from torch import nn

from renma.core.errors import UserError

Kind = Literal["auto", "sdpa", "xformers", "none"]


def set_attention(root: nn.Module, kind: Kind) -> int:
    """Lets every attention layer of a diffusers model compute in one way.

    Args:
        root: the U-Net or VAE.
        kind: ``sdpa`` (torch's fused kernels), ``xformers``, ``none`` (the whole matrix of weights
            is built: most memory, easiest to reason about), ``auto``: ``sdpa``, which on a CPU
            :func:`renma.engine.lean.apply` may better.

    Returns:
        How many layers there are.

    Raises:
        UserError: xformers is asked for where it is not installed or has no CUDA device.
    """
    from diffusers.models import attention_processor as processors

    if kind == "xformers":
        _check_xformers(root)
    make: Any = {
        "none": processors.AttnProcessor,
        "xformers": processors.XFormersAttnProcessor,
    }.get(kind, processors.AttnProcessor2_0)
    found = [module for module in root.modules() if isinstance(module, processors.Attention)]
    for module in found:
        module.set_processor(make())
    return len(found)


def _check_xformers(root: nn.Module) -> None:
    remedy = "Use model.attention = 'auto': torch's own kernels are as fast and need nothing."
    if find_spec("xformers") is None:
        raise UserError(
            "model.attention = 'xformers', but xformers is not installed",
            remedy=f"pip install xformers. Or: {remedy}",
        )
    device = next(root.parameters()).device
    if device.type != "cuda" or not torch.cuda.is_available():
        raise UserError(
            f"model.attention = 'xformers' needs a CUDA device, the model is on {device.type}",
            remedy=remedy,
        )
