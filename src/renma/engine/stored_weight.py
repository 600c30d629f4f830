"""A frozen layer's weight as it was before anything was merged into it, in whatever precision.

Merged is always into the original: ``store(float32(original) + sum)``. However often that is done,
the result is off by the storing of one sum; merging into what was merged before rounds every time,
and in bfloat16 loses whatever is smaller than half a percent of a weight.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from renma.engine.quantize import Codes


class StoredWeight:
    """The weight of one layer: plain numbers, or codes of few bits with their scales.

    Args:
        layer: a linear layer or a convolution, quantised or not; what it holds now is copied to
            main memory, in the precision in which it is stored.
    """

    def __init__(self, layer: nn.Module) -> None:
        self.layer: Any = layer
        self.numbers: Tensor = self.layer.weight.detach().to("cpu", copy=True)
        self.codes: Codes | None = getattr(layer, "codes", None)

    @torch.no_grad()
    def add(self, change: Tensor) -> None:
        """Makes the layer's weight the original one plus a change, stored as the original is.

        Args:
            change: float32, of as many numbers as the weight.
        """
        here = self.numbers.to(self.layer.weight.device)
        if self.codes is None:
            # in place: who keeps a copy in another order (frozen_conv) sees that it is stale
            self.layer.weight.copy_(here.float() + change.reshape(here.shape))
            return
        original = self.codes.restored(here, torch.float32)
        codes = Codes(original + change.reshape(original.shape), self.codes.storage)
        self.layer.weight.copy_(codes.packed)
        del codes.packed
        self.layer.codes = codes

    @torch.no_grad()
    def restore(self) -> None:
        """Gives the layer its original weight back, bit by bit."""
        self.layer.weight.copy_(self.numbers)
        if self.codes is not None:
            self.layer.codes = self.codes
