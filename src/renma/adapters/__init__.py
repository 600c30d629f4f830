"""Adapters: one algorithm per file; the folder is the registry.

An adapter knows one frozen layer's shape and its own options - no model, no family.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from renma.core import registry

if TYPE_CHECKING:
    import torch

    from renma.adapters._base import Adapter, LayerSpec
    from renma.config.adapter import Lora


def build(spec: LayerSpec, config: Lora, generator: torch.Generator) -> Adapter:
    """Returns a fresh adapter of the algorithm that ``config.algo`` names."""
    return registry.load(__name__, config.algo).Adapter(spec, config, generator)
