"""Batches for the loop: latents, captions, weights of every showing of a step."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from renma.config import Run
from renma.core.store import digest
from renma.data.captions import is_random, shown_caption
from renma.data.item import Item
from renma.data.order import Batch, Showing
from renma.engine.latents import Latents, Wanted
from renma.train.plan import Prepared


@dataclass(frozen=True)
class Fed:
    """One batch, ready for the objective.

    Args:
        moments: posterior mean and deviation of each picture.
        places: epoch and position of each showing, the key of its random draws.
        captions: final captions.
        weights: (batch,) loss weights.
        names: picture files, for messages.
    """

    moments: list[tuple[Tensor, Tensor]]
    places: list[tuple[int, int]]
    captions: list[str]
    weights: Tensor
    names: list[str]


class Feed:
    """Turns the endless row of batches into tensors; a pure function of the batch's number."""

    def __init__(self, run: Run, prepared: Prepared, latents: Latents) -> None:
        self.run, self.prepared, self.latents = run, prepared, latents
        self._epoch: tuple[int, tuple[Batch, ...]] | None = None

    def batch(self, number: int) -> Fed:
        """Returns the batch with a running number, counted over all epochs."""
        epoch, index = self.prepared.order.locate(number)
        if self._epoch is None or self._epoch[0] != epoch:
            self._epoch = (epoch, self.prepared.order.epoch(epoch))
        showings = self._epoch[1][index].showings
        items = [self._item(s) for s in showings]
        prior = self.run.objective.prior_loss_weight
        seed = self.run.train.seed
        return Fed(
            [self.latents.get(self.wanted(s)) for s in showings],
            [(epoch, s.position) for s in showings],
            [
                shown_caption(item, seed, epoch, s.position)
                for item, s in zip(items, showings, strict=True)
            ],
            torch.tensor([prior if item.subset.is_reg else 1.0 for item in items]),
            [item.path.name for item in items],
        )

    def wanted(self, showing: Showing) -> Wanted:
        """Returns which latents a showing needs."""
        fit = self.prepared.order.fits[showing.set_index][showing.item_index]
        return Wanted(self._item(showing), fit, showing.flip)

    def all_wanted(self) -> list[Wanted]:
        """Returns every latent that any showing can need."""
        found = []
        for scanned, fits in zip(self.prepared.scan.sets, self.prepared.order.fits, strict=True):
            for item, fit in zip(scanned.items, fits, strict=True):
                found.append(Wanted(item, fit, flip=False))
                if item.subset.flip_aug:
                    found.append(Wanted(item, fit, flip=True))
        return found

    def fixed_captions(self) -> list[str] | None:
        """Returns all captions that can be shown, or None where they change by showing."""
        items = [item for scanned in self.prepared.scan.sets for item in scanned.items]
        if any(is_random(item.subset) for item in items):
            return None
        return [shown_caption(item, 0, 0, 0) for item in items]

    def fingerprint(self) -> str:
        """Returns a digest of all pictures and captions, to notice changes on resume."""
        items = [item for scanned in self.prepared.scan.sets for item in scanned.items]
        return digest(f"{item.digest}:{item.caption}" for item in items)

    def _item(self, showing: Showing) -> Item:
        return self.prepared.scan.sets[showing.set_index].items[showing.item_index]
