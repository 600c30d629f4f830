"""Batches for the loop: latents, captions, weights, masks, sizes of every showing of a step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from operator import itemgetter

import torch
from torch import Tensor

from renma.config import Run
from renma.core import keyed
from renma.data.augment import Augment, draw, is_cacheable
from renma.data.buckets import Fit
from renma.data.captions import plain_caption, shown_caption, variants
from renma.data.item import Item
from renma.data.latent_key import all_wanted
from renma.data.order import Batch, Showing, fitted
from renma.data.pixels import Pixels, load_fitted
from renma.engine.latents import Entry, Latents, Wanted
from renma.train.contents import fingerprint
from renma.train.plan import Prepared

HELD_OUT = -1
"""The epoch in the places of held-out pictures: no showing of training has it."""


@dataclass(frozen=True)
class Fed:
    """One batch, ready for the objective.

    Args:
        moments: posterior mean and deviation of each picture.
        places: epoch and position of each showing, the key of its random draws.
        captions: final captions.
        weights: (batch,) loss weights.
        names: picture files, for messages.
        digests: of each picture file's bytes, the key of what is random about a held-out picture.
        masks: (batch, 1, h, w) in 0 .. 1, what counts in the loss; None if all of it does.
        sizes: (batch, 6) float32 height and width of the picture file, top and left of the crop,
            height and width of the target, for SDXL. As in Stability's training (arXiv 2307.01952,
            section 2.2) the crop counts in pixels of the resized picture; of a mirrored picture it
            is where the crop lies in the mirror image.
        preserve: (batch,) bool, whose target is the base model's own prediction.
    """

    moments: list[tuple[Tensor, Tensor]]
    places: list[tuple[int, int]]
    captions: list[str]
    weights: Tensor
    names: list[str]
    digests: list[str]
    masks: Tensor | None
    sizes: Tensor
    preserve: Tensor

    def rows(self, start: int, stop: int) -> Fed:
        """Returns some samples of the batch."""
        part = slice(start, stop)
        return replace(
            self,
            moments=self.moments[part],
            places=self.places[part],
            captions=self.captions[part],
            weights=self.weights[part],
            names=self.names[part],
            digests=self.digests[part],
            masks=None if self.masks is None else self.masks[part],
            sizes=self.sizes[part],
            preserve=self.preserve[part],
        )


@dataclass(frozen=True)
class _Look:
    """One showing as pixels: the picture, how it is cut, whether its latents are cached."""

    item: Item
    shown: Augment
    cached: bool


class Feed:
    """Turns the endless row of batches into tensors; a pure function of the batch's number.

    Pictures that look different in every showing are decoded one batch ahead, in threads.
    """

    def __init__(self, run: Run, prepared: Prepared, latents: Latents) -> None:
        self.run, self.prepared, self.latents = run, prepared, latents
        self._epoch: tuple[int, tuple[Batch, ...]] | None = None
        self._last = -1
        self._ahead: dict[int, list[Future[Pixels]]] = {}
        self._pool: ThreadPoolExecutor | None = None

    @property
    def needs_vae(self) -> bool:
        """Whether some pictures are encoded anew for every showing."""
        return any(not cached for _, _, cached in self._pictures())

    def count(self, number: int) -> int:
        """Returns how many pictures a batch shows."""
        return len(self._showings(number)[1])

    def batch(self, number: int, step: int = 0) -> Fed:
        """Returns the batch with a running number, counted over all epochs.

        Args:
            number: of the batch.
            step: optimizer steps done, for the token warm-up.
        """
        epoch, showings = self._showings(number)
        looks = self._looks(number)
        items, seed = [look.item for look in looks], self.run.train.seed
        coming = self._ahead.pop(number, None) or self._decode(looks)
        self._ahead.clear()  # guessed wrong
        captions = [
            shown_caption(item, seed, epoch, s.position, step, self.prepared.plan.steps)
            for item, s in zip(items, showings, strict=True)
        ]
        prior = self.run.objective.prior_loss_weight
        fed = _fed(
            looks,
            self._entries(looks, [each.result() for each in coming]),
            [(epoch, s.position) for s in showings],
            captions,
            torch.tensor([prior if item.subset.is_reg else 1.0 for item in items]),
            torch.tensor([self._preserved(item) for item in items]),
        )
        self._look_ahead(number)
        return fed

    def held_out(self, most: int = 0) -> HeldOut:
        """Returns the pictures that training never shows, the same way every time.

        Nothing is mirrored, cut at random, shuffled or dropped; captions keep prefix and suffix.
        Batches come in an order drawn from the pictures' contents, so that the first ones are a
        fair sample of all sizes.

        Args:
            most: batches (0 = all).
        """
        found: list[tuple[int, list[_Look]]] = []
        for scanned in self.prepared.scan.sets:
            buckets: dict[tuple[int, int], list[tuple[int, _Look]]] = {}
            for item in scanned.held_out:
                fit = fitted(item, scanned.dataset)
                place = keyed.key(scanned.dataset.validation_seed, "held-out order", item.digest)
                look = _Look(item, Augment(fit), cached=True)
                buckets.setdefault((fit.width, fit.height), []).append((place, look))
            width = scanned.dataset.batch_size
            for row in buckets.values():
                row.sort(key=itemgetter(0))
                for start in range(0, len(row), width):
                    part = row[start : start + width]
                    # where its first picture stands: a bucket comes early as often as it is full
                    found.append((part[0][0], [look for _, look in part]))
        found.sort(key=itemgetter(0))
        return HeldOut(self, [looks for _, looks in found][: most or None])

    def plain(self, looks: Sequence[_Look], position: int) -> Fed:
        """Returns held-out pictures as a batch; ``position`` is that of the first of them."""
        return _fed(
            looks,
            self._entries(looks, []),
            [(HELD_OUT, position + i) for i in range(len(looks))],
            [plain_caption(look.item) for look in looks],
            torch.ones(len(looks)),
            torch.zeros(len(looks), dtype=torch.bool),
        )

    def all_wanted(self) -> list[Wanted]:
        """Returns every latent that can be encoded ahead, those of held-out pictures too."""
        return list(all_wanted(self.prepared.order))

    def fixed_captions(self) -> list[str] | None:
        """Returns all captions that can be shown, or None where they are too many to encode."""
        found: list[str] = []
        for item, _, _ in self._pictures():
            own = variants(item)
            if own is None:
                return None
            found += own
        kept = [plain_caption(i) for scanned in self.prepared.scan.sets for i in scanned.held_out]
        return list(dict.fromkeys([*found, *kept]))

    def fingerprint(self) -> str:
        """Returns a digest of all pictures, masks and captions, to notice changes on resume."""
        return fingerprint(self.prepared.scan)

    def _showings(self, number: int) -> tuple[int, tuple[Showing, ...]]:
        epoch, index = self.prepared.order.locate(number)
        if self._epoch is None or self._epoch[0] != epoch:
            self._epoch = (epoch, self.prepared.order.epoch(epoch))
        return epoch, self._epoch[1][index].showings

    def _preserved(self, item: Item) -> bool:
        every = item.subset.is_reg and self.run.objective.prior_preservation
        return every or item.subset.prior_preservation

    def _pictures(self) -> list[tuple[Item, Fit, bool]]:
        """Returns every training picture, how it is fitted, and whether its latents are cached."""
        order = self.prepared.order
        return [
            (item, fit, is_cacheable(item, scanned.dataset, fit))
            for scanned, fits in zip(order.sets, order.fits, strict=True)
            for item, fit in zip(scanned.items, fits, strict=True)
        ]

    def _looks(self, number: int) -> list[_Look]:
        epoch, showings = self._showings(number)
        order, seed, found = self.prepared.order, self.run.train.seed, []
        for s in showings:
            scanned, fit = order.sets[s.set_index], order.fits[s.set_index][s.item_index]
            item = scanned.items[s.item_index]
            shown = draw(item, scanned.dataset, fit, seed, epoch, s.position, flip=s.flip)
            found.append(_Look(item, shown, is_cacheable(item, scanned.dataset, fit)))
        return found

    def _entries(self, looks: Sequence[_Look], pixels: Sequence[Pixels]) -> list[Entry]:
        """Returns the latents of a batch: from the cache, or encoded now from ``pixels``."""
        fresh = [look.item for look in looks if not look.cached]
        encoded = iter(self.latents.encode(fresh, pixels))
        return [
            self.latents.get(Wanted(look.item, look.shown.fit, look.shown.flip))
            if look.cached
            else next(encoded)
            for look in looks
        ]

    def _decode(self, looks: Sequence[_Look]) -> list[Future[Pixels]]:
        """Begins to decode the pictures of a batch that are not cached."""
        fresh = [look for look in looks if not look.cached]
        if fresh and self._pool is None:
            self._pool = ThreadPoolExecutor(2, "pictures")
        return [self._pool.submit(load_fitted, o.item, o.shown) for o in fresh if self._pool]

    def _look_ahead(self, number: int) -> None:
        """Decodes the batch that will probably be asked for next: one process of n has each n-th.

        The number after it would do for all others; a wrong guess costs time and nothing else.
        """
        ahead = number + max(1, number - self._last if self._last >= 0 else 1)
        self._last = number
        if self._pool is not None:
            self._ahead[ahead] = self._decode(self._looks(ahead))


class HeldOut:
    """Batches of held-out pictures; their latents are read each time they are gone through.

    Args:
        feed: reads the latents.
        looks: the pictures of each batch.
    """

    def __init__(self, feed: Feed, looks: Sequence[Sequence[_Look]]) -> None:
        self._feed, self._looks = feed, looks

    def __len__(self) -> int:
        """Returns the number of batches."""
        return len(self._looks)

    def __iter__(self) -> Iterator[Fed]:
        """Yields the batches, always in the same order."""
        position = 0
        for looks in self._looks:
            yield self._feed.plain(looks, position)
            position += len(looks)


def _fed(
    looks: Sequence[_Look],
    entries: Sequence[Entry],
    places: list[tuple[int, int]],
    captions: list[str],
    weights: Tensor,
    preserve: Tensor,
) -> Fed:
    masks = [entry.mask for entry in entries]
    stacked = None
    if any(mask is not None for mask in masks):
        full = [torch.ones(1, *entry.mean.shape[-2:]) for entry in entries]
        stacked = torch.stack([f if m is None else m for m, f in zip(masks, full, strict=True)])
    return Fed(
        moments=[(entry.mean, entry.deviation) for entry in entries],
        places=places,
        captions=captions,
        weights=weights,
        names=[look.item.path.name for look in looks],
        digests=[look.item.digest for look in looks],
        masks=stacked,
        sizes=torch.tensor([_sizes(look) for look in looks], dtype=torch.float32),
        preserve=preserve,
    )


def _sizes(look: _Look) -> tuple[int, int, int, int, int, int]:
    """Returns original height, width, crop top, left, target height, width in pixels."""
    item, fit = look.item, look.shown.fit
    left, top = fit.crop
    if look.shown.flip:
        left = fit.resized[0] - fit.width - left
    return (item.height, item.width, top, left, fit.height, fit.width)
