"""DyLoRA: LoRA of which every leading part is a LoRA too (Valipour et al., arXiv 2210.07558).

Ranks form groups of ``unit``. Each step draws one group b for the whole network: the update is
made of the groups up to b alone, with scale alpha / (their ranks); they learn, or group b alone
does (``frozen``). A file cut to k ranks with alpha as it was has that same scale.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from renma.adapters import _base, _lowrank
from renma.config.adapter import DyLora

SUFFIXES: frozenset[str] = frozenset()  # its files are LoRA files


class Adapter(_lowrank.LowRank):
    """Low-rank update with a window on its ranks.

    Each group of ranks is a parameter of its own: those without a gradient in a step keep weights
    and optimizer state as they are.

    Attributes:
        window: (first, end) of the ranks that learn in this step, those before them acting as
            they are; None uses all of them.
    """

    window: tuple[int, int] | None = None

    def __init__(self, spec: _base.LayerSpec, config: DyLora, generator: torch.Generator) -> None:
        super().__init__(spec, config, generator)
        self.unit = config.unit
        down, up = self.down.data, self.up.data
        del self.down, self.up
        self.downs = nn.ParameterList(part.clone() for part in down.split(self.unit))
        self.ups = nn.ParameterList(part.clone() for part in up.split(self.unit, dim=1))

    def reset_draws(self) -> None:
        """Forgets what is random about one batch."""
        super().reset_draws()
        self.window = None

    def factors(self) -> _lowrank.Factors:
        """Returns the ranks up to the window's end, those before it without gradient."""
        downs, ups, factor = list(self.downs), list(self.ups), self.scale
        if self.window is not None:
            first, end = (edge // self.unit for edge in self.window)
            downs = [part.detach() for part in downs[:first]] + downs[first:end]
            ups = [part.detach() for part in ups[:first]] + ups[first:end]
            factor = self.scale * self.rank / self.window[1]
        return _lowrank.Factors(torch.cat(downs), torch.cat(ups, dim=1), factor)

    def scalable(self) -> list[nn.Parameter]:
        """Returns nothing: see :meth:`clamp_norm_`."""
        return []

    def clamp_norm_(self, limit: float) -> float | None:
        """Shortens the whole update by scaling up and down of every group alike."""
        with torch.no_grad():
            norm = self.update_norm()
            if norm > limit:
                for part in (*self.downs, *self.ups):
                    part.mul_((limit / norm) ** 0.5)
        return norm

    def fast_parameters(self) -> list[nn.Parameter]:
        """Returns the groups of B."""
        return list(self.ups)

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes factors and alpha from a file; a missing alpha means alpha = rank."""
        whole = _base.take(tensors, "lora_down.weight", (self.rank, self.spec.columns))
        up = _base.take(tensors, "lora_up.weight", (self.spec.outputs, self.rank))
        for held, given in (
            (self.downs, whole.split(self.unit)),
            (self.ups, up.split(self.unit, dim=1)),
        ):
            for part, value in zip(held, given, strict=True):
                part.data.copy_(value)
        self.load_others(tensors)
        self.scale = _base.scale_of(tensors, self.rank)


def parameters(spec: _base.LayerSpec, config: DyLora) -> int:
    """Returns how many numbers are trained in all steps together."""
    return sum(_lowrank.numbers(spec, config))


def config_of(tensors: Mapping[str, Tensor]) -> DyLora:
    """Returns rank, alpha and form as the tensors of one layer tell them.

    Raises:
        ValueError: they are missing, or no rank and alpha.
    """
    return DyLora(**_lowrank.rank_alpha(tensors))
