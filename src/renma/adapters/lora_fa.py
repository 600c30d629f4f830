"""LoRA-FA: LoRA whose A stays at its random start (arXiv 2308.03303).

Without a gradient for A the layer's input need not be kept: only A x, rank numbers a token.
The file is plain LoRA and reads back as such.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from renma.adapters import _base, _lowrank
from renma.config.adapter import LoraFA

SUFFIXES: frozenset[str] = frozenset()  # its files are LoRA files


class Adapter(_lowrank.LowRank):
    """Low-rank update of which only B (and a Tucker core, DoRA's magnitude) is trained."""

    def __init__(self, spec: _base.LayerSpec, config: LoraFA, generator: torch.Generator) -> None:
        super().__init__(spec, config, generator)
        columns = self.down.shape[1]
        start = torch.empty_like(self.down.data)
        start.normal_(0, (2 / (columns + config.rank)) ** 0.5, generator=generator)
        del self.down
        self.register_buffer("down", start)


def parameters(spec: _base.LayerSpec, config: LoraFA) -> int:
    """Returns how many numbers are trained: all but A's."""
    _, up, others = _lowrank.numbers(spec, config)
    return up + others


def config_of(tensors: Mapping[str, Tensor]) -> LoraFA:
    """Returns rank, alpha and form as the tensors of one layer tell them.

    Raises:
        ValueError: they are missing, or no rank and alpha.
    """
    return LoraFA(**_lowrank.rank_alpha(tensors))
