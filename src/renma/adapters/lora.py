"""LoRA and LoCon, with DoRA, Tucker form, LoRA+, rsLoRA, and starts from the weight itself.

PiSSA (arXiv 2404.02948) and OLoRA (arXiv 2406.01775) start A and B with parts of the frozen
weight. The base stays as it is here: the start's own product is subtracted for good, so that the
layer begins unchanged, and the file holds the difference as plain LoRA of twice the rank.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from renma.adapters import _base, _lowrank
from renma.config.adapter import Lora

SUFFIXES = _lowrank.SUFFIXES
FROM_WEIGHT = frozenset({"pissa", "olora"})


class Adapter(_lowrank.LowRank):
    """Low-rank update of one layer."""

    first_down: Tensor
    first_up: Tensor

    def __init__(self, spec: _base.LayerSpec, config: Lora, generator: torch.Generator) -> None:
        super().__init__(spec, config, generator)
        self.begin = config.start
        if config.start == "gaussian":
            self.down.data.normal_(0, 1 / config.rank, generator=generator)
        if config.start in FROM_WEIGHT:
            self.register_buffer("first_down", torch.zeros_like(self.down.data))
            self.register_buffer("first_up", torch.zeros_like(self.up.data))

    def start(self, weight: Tensor) -> None:
        """Sets the factors of PiSSA and OLoRA, and DoRA's magnitudes."""
        super().start(weight)
        if self.begin not in FROM_WEIGHT:
            return
        matrix = weight.reshape(self.spec.outputs, -1).to(self.down.dtype)
        if self.begin == "pissa":
            u, s, v = torch.linalg.svd(matrix, full_matrices=False)
            root = (s[: self.rank] / self.scale).sqrt()
            up, down = u[:, : self.rank] * root, root[:, None] * v[: self.rank]
        else:
            q, r = torch.linalg.qr(matrix)
            up, down = q[:, : self.rank], r[: self.rank]
        # a rank beyond the layer's own leaves rows of zeros
        for parameter, first, value in (
            (self.down, self.first_down, down),
            (self.up, self.first_up, up),
        ):
            filled = torch.zeros_like(parameter.data)
            filled[: value.shape[0], : value.shape[1]] = value
            parameter.data.copy_(filled)
            first.copy_(filled)

    def unchanged(self, weight: Tensor) -> list[tuple[torch.nn.Parameter, Tensor]]:
        """Returns also the factors of PiSSA and OLoRA, which change nothing where they began."""
        found = super().unchanged(weight)
        if self.begin in FROM_WEIGHT:
            found += [(self.down, self.first_down), (self.up, self.first_up)]
        return found

    def factors(self) -> _lowrank.Factors:
        """Returns A and B; with a start from the weight, less that start: twice the rank."""
        if self.begin not in FROM_WEIGHT:
            return super().factors()
        down = torch.cat([self.down, self.first_down])
        up = torch.cat([self.up, -self.first_up], dim=1)
        return _lowrank.Factors(down, up, self.scale)

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes factors and alpha from a file; nothing of this start is subtracted from them."""
        super().load_tensors(tensors)
        if self.begin in FROM_WEIGHT:
            self.first_down.zero_()
            self.first_up.zero_()

    def scalable(self) -> list[torch.nn.Parameter]:
        """Returns the trained factors; a start from the weight cannot be scaled in place."""
        return [] if self.begin in FROM_WEIGHT else super().scalable()


def parameters(spec: _base.LayerSpec, config: Lora) -> int:
    """Returns how many numbers are trained: rank * (columns + outputs) and those of DoRA."""
    return sum(_lowrank.numbers(spec, config))


def config_of(tensors: Mapping[str, Tensor]) -> Lora:
    """Returns rank, alpha and form as the tensors of one layer tell them.

    Raises:
        ValueError: they are missing, or no rank and alpha.
    """
    return Lora(**_lowrank.rank_alpha(tensors))
