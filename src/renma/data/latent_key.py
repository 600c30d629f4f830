"""What the latents of a picture depend on: the key of their cache, without torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from renma.core.store import digest
from renma.data.augment import is_cacheable
from renma.data.buckets import Fit
from renma.data.item import Item
from renma.data.order import Order, fitted

VERSION = 2
"""Raise it when the same inputs would give other latents."""


@dataclass(frozen=True)
class Wanted:
    """One picture as it is encoded, when all its showings look alike but for mirroring."""

    item: Item
    fit: Fit
    flip: bool

    def key(self, maker: str) -> str:
        """Returns the digest of everything that determines the latents and their mask.

        Args:
            maker: what :func:`maker_of` returns for the VAE.
        """
        fit, subset = self.fit, self.item.subset
        size = (fit.width, fit.height, *fit.resized, *fit.crop)
        look = (*subset.background, subset.resize_interpolation, self.flip, self.item.mask_key)
        return digest([VERSION, maker, self.item.digest, *size, *look])


def maker_of(vae_hash: str, family: str, device: str) -> str:
    """Returns what latents depend on besides pictures: the VAE, its scale, where it computes.

    Args:
        vae_hash: SHA-256 of the VAE's weights; it computes in float32 always.
        family: name of the model family, which decides the scale of latents.
        device: ``cpu`` or ``cuda``.
    """
    return f"{vae_hash} {family} {device}"


def all_wanted(order: Order) -> Iterator[Wanted]:
    """Yields every latent that can be encoded ahead, those of held-out pictures too."""
    for scanned, fits in zip(order.sets, order.fits, strict=True):
        for item, fit in zip(scanned.items, fits, strict=True):
            if is_cacheable(item, scanned.dataset, fit):
                yield Wanted(item, fit, flip=False)
                if item.subset.flip_aug:
                    yield Wanted(item, fit, flip=True)
    for scanned in order.sets:
        for item in scanned.held_out:
            yield Wanted(item, fitted(item, scanned.dataset), flip=False)
