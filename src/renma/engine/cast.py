"""Several LoRAs on one model, each as strong as every single row of a batch says.

A row is one text about one picture. What belongs to one sub-prompt acts on that sub-prompt's rows
alone, in the text encoders as in the U-Net; nothing counts calls, so any layout of a batch works.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from renma.adapters._base import Strength
from renma.engine.attach import Host
from renma.engine.network import Member, Network

Power = tuple[float, float]
"""How strongly a LoRA acts in the U-Net and in the text encoders."""
NONE: Power = (0.0, 0.0)
_TOLD = ("attn2.to_k", "attn2.to_v", "time_emb", "add_embedding", "class_embedding")
"""Layers of a U-Net that see the text or the time, not places of the picture."""


@dataclass(frozen=True)
class Role:
    """One LoRA of a cast.

    Attributes:
        network: its adapters.
        blocks: factor on its strength by block label (BASE, IN01 ...); what is missing is 1.
    """

    network: Network
    blocks: Mapping[str, float] = field(default_factory=dict)


class Cast:
    """The LoRAs that pictures are drawn with.

    Args:
        roles: each by its place; a row's powers stand in this order.
    """

    def __init__(self, roles: Sequence[Role] = ()) -> None:
        self.roles = tuple(roles)
        self._now: dict[tuple[int, str], Strength] = {}
        self._maps: dict[int, Tensor] = {}

    @contextmanager
    def on_stage(self) -> Iterator[None]:
        """Attaches every LoRA inside a ``with`` block; how strongly says :meth:`play`."""
        self._now, self._maps = {}, {}
        pairs = [(r, m) for r in enumerate(self.roles) for m in r[1].network.members.values()]
        try:
            for (place, role), member in pairs:
                Host.of(member.target.layer).add(member.adapter, self._asked(place, role, member))
            yield
        finally:
            for _, member in pairs:
                Host.of(member.target.layer).remove(member.adapter)

    def play(
        self,
        part: str,
        powers: Sequence[Sequence[Power]],
        *,
        device: torch.device | None = None,
        repeat: int = 1,
        maps: Mapping[int, Tensor] | None = None,
    ) -> None:
        """Says how strongly each LoRA acts from now on.

        Args:
            part: ``unet`` or ``text_encoder``.
            powers: of every row of the batch, for every LoRA; missing ones are 0.
            device: where the layers compute.
            repeat: rows that stand for each of these, one after another.
            maps: by LoRA, (rows, h, w) strengths at the latents' places, instead of its powers in
                layers whose output has places.
        """
        which = 0 if part == "unet" else 1
        for place in range(len(self.roles)):
            given = [row[place][which] if place < len(row) else 0.0 for row in powers]
            if len(set(given)) == 1:
                self._now[place, part] = given[0]
                continue
            column = torch.tensor(given, dtype=torch.float32, device=device)
            self._now[place, part] = column.repeat_interleave(repeat)
        if part == "unet":
            self._maps = dict(maps or {})

    def _asked(self, place: int, role: Role, member: Member) -> Callable[[], Strength]:
        factor = role.blocks.get(member.target.block, 1.0)
        part = member.part
        has_places = part == "unet" and not any(name in member.target.path for name in _TOLD)

        def strength() -> Strength:
            if not factor:
                return 0.0
            if has_places and place in self._maps:
                return factor * self._maps[place]
            return factor * self._now.get((place, part), 0.0)

        return strength
