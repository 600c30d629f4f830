"""States of captions for a text encoder that is not trained: encoded once for each final text."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor

from renma.families._base import Condition, Family

TEXT_VARIANTS = 4096
"""Caption states kept in memory; shuffled captions can be endless."""


class TextStates:
    """Text encoder output per final caption, for a text encoder that is not trained.

    Args:
        family: encodes captions not met before; its encoder may leave once all are known.
    """

    def __init__(self, family: Family) -> None:
        self.family = family
        self.limit: int | None = TEXT_VARIANTS
        self._kept: OrderedDict[str, Tensor] = OrderedDict()

    def prepare(self, captions: Sequence[str], batch_size: int = 16) -> None:
        """Encodes captions ahead, each once."""
        fresh = [c for c in dict.fromkeys(captions) if c not in self._kept]
        for start in range(0, len(fresh), batch_size):
            self._encode(fresh[start : start + batch_size])

    def keep_all(self) -> None:
        """Forgets nothing from now on: for when the text encoder leaves."""
        self.limit = None

    def condition(self, captions: Sequence[str]) -> Condition:
        """Returns the states of a batch of captions, (batch, tokens, width)."""
        self.prepare(captions)
        states = torch.stack([self._kept[caption] for caption in captions])
        for caption in captions:
            self._kept.move_to_end(caption)
        while self.limit and len(self._kept) > max(self.limit, len(captions)):
            self._kept.popitem(last=False)
        return Condition(states)

    @torch.no_grad()
    def _encode(self, captions: Sequence[str]) -> None:
        states = self.family.encode_text(captions).states
        self._kept.update(zip(captions, states.unbind(), strict=True))
