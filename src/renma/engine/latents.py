"""Latents of pictures: encoded once, kept on disk, keyed by all they depend on."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from renma.core.counted import counted
from renma.core.errors import UserError
from renma.core.store import Store
from renma.data.augment import Augment
from renma.data.item import Item
from renma.data.latent_key import Wanted, maker_of
from renma.data.pixels import Pixels, load_fitted
from renma.engine.offload import out_of_memory, reason
from renma.families._base import Family
from renma.formats import safetensors

Progress = Callable[[int, int], None]
_MIB = 2**20


@dataclass(frozen=True)
class Entry:
    """What the VAE makes of one picture.

    Args:
        mean: of the posterior, (channels, h, w).
        deviation: of the posterior, like ``mean``.
        mask: (1, h, w), share of each latent's pixels that counts in the loss, or None for all.
    """

    mean: Tensor
    deviation: Tensor
    mask: Tensor | None = None

    @property
    def bytes(self) -> int:
        """How much memory it takes."""
        tensors = (self.mean, self.deviation, self.mask)
        return sum(t.numel() * t.element_size() for t in tensors if t is not None)


class Latents:
    """Posterior mean and deviation of pictures, encoded once and kept on disk.

    Neither :meth:`missing` nor :meth:`get` of what is on disk loads a model.

    Args:
        maker: what :func:`maker_of` returns.
        family: gives the model that encodes what is not on disk yet.
        store: where entries lie.
        memory_mib: how much of them is kept in memory.
        batch_size: pictures encoded at once, unless the maker is a CPU.
        warn: told about damaged entries.
    """

    def __init__(
        self,
        maker: str,
        family: Callable[[], Family],
        store: Store | None = None,
        *,
        memory_mib: int = 1024,
        batch_size: int = 4,
        warn: Callable[[str], None] | None = None,
    ) -> None:
        self.family = family
        self.store = store or Store("latents", ".safetensors")
        self._maker, self._warn = maker, warn
        # neighbours in a batch change the last bits on a CPU, where equal runs are promised
        self._batch = 1 if maker.endswith(" cpu") else batch_size
        self._limit, self._size = memory_mib * _MIB, 0
        self._kept: OrderedDict[str, Entry] = OrderedDict()
        self._damaged = 0

    @classmethod
    def of(cls, family: Family, store: Store | None = None, **options: Any) -> Latents:
        """Returns the latents of a model that is loaded already; options as of the class."""
        device = next(family.parts()["vae"].parameters()).device.type
        maker = maker_of(family.hashes["vae"], family.name, device)
        return cls(maker, lambda: family, store, **options)

    def missing(self, wanted: Sequence[Wanted]) -> list[Wanted]:
        """Returns what is not on disk, or damaged there, each once."""
        keys = {entry.key(self._maker): entry for entry in wanted}
        return [entry for key, entry in keys.items() if self._load(key) is None]

    def prepare(self, wanted: Sequence[Wanted], progress: Progress) -> int:
        """Encodes what is missing and returns how many that were.

        While the VAE works, the next pictures are decoded.

        Raises:
            UserError: a picture whose latents are not finite, by name.
        """
        count = len({entry.key(self._maker) for entry in wanted})
        missing = self.missing(wanted)
        done = count - len(missing)
        progress(done, count)
        groups = list(_alike(missing, self._batch))
        with ThreadPoolExecutor(1, "pictures") as pool:
            coming = [pool.submit(_decoded, group) for group in groups[:1]]
            for number, group in enumerate(groups):
                pixels = coming.pop().result()
                coming += [pool.submit(_decoded, more) for more in groups[number + 1 : number + 2]]
                self._put(group, self.encode([entry.item for entry in group], pixels))
                done += len(group)
                progress(done, count)
        if self._damaged:
            self._tell(f"{self._damaged} damaged entries of the latent cache were made anew")
        self._damaged = 0
        return len(missing)

    def get(self, wanted: Wanted) -> Entry:
        """Returns one picture's latents from memory or disk; what vanished is encoded again."""
        damaged = self._damaged
        found = self._load(wanted.key(self._maker))
        if found is None:
            (found,) = self.encode([wanted.item], _decoded([wanted]))
            self._put([wanted], [found])
            if self._damaged > damaged == 0:  # the first since all of them were looked at
                name = wanted.item.path.name
                self._tell(f"a damaged entry of the latent cache was made anew, that of {name}")
        return found

    def encode(self, items: Sequence[Item], pixels: Sequence[Pixels]) -> list[Entry]:
        """Returns the latents of pixels of one size, without keeping them.

        Raises:
            UserError: latents that are not finite, or a picture that memory is too small for, by
                name.
        """
        found: list[Entry] = []
        while len(found) < len(items):
            part = slice(len(found), len(found) + self._batch)
            entries = self._tried(items[part], pixels[part])
            if entries is None:
                self._batch = max(1, min(self._batch, len(items[part])) // 2)
                if torch.cuda.is_available():
                    torch.cuda.empty_cache()
                now = counted(self._batch, "picture")
                self._tell(f"not enough memory: encoding {now} at a time from here on")
            found += entries or []
        return found

    def _tried(self, items: Sequence[Item], pixels: Sequence[Pixels]) -> list[Entry] | None:
        """Returns the latents of one batch, or None if memory ran out and half of it may fit."""
        try:
            return self._encode(items, pixels)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            if len(items) == 1:
                raise UserError(
                    f"the memory is too small to encode this picture ({reason(error)})",
                    where=items[0].path,
                    remedy="Lower data.resolution, or free some memory.",
                ) from None
        return None

    def _tell(self, text: str) -> None:
        if self._warn:
            self._warn(text)

    @torch.no_grad()
    def _encode(self, items: Sequence[Item], pixels: Sequence[Pixels]) -> list[Entry]:
        images = torch.stack([torch.from_numpy(p.rgb).permute(2, 0, 1) for p in pixels])
        mean, deviation = self.family().encode_image(images.float() / 127.5 - 1)
        found = []
        for item, own, m, d in zip(items, pixels, mean.cpu(), deviation.cpu(), strict=True):
            if not (m.isfinite().all() and d.isfinite().all()):
                raise UserError(
                    "the VAE turns this picture into NaN",
                    where=item.path,
                    remedy="Check the picture, or use another VAE.",
                )
            mask = None
            if own.mask is not None:
                # sizes are multiples of the latent's, so this is the mean over each latent's area
                mask = adaptive_avg_pool2d(
                    torch.from_numpy(own.mask)[None], (m.shape[-2], m.shape[-1])
                )
            found.append(Entry(m.clone(), d.clone(), mask))
        return found

    def _put(self, wanted: Sequence[Wanted], entries: Sequence[Entry]) -> None:
        for one, entry in zip(wanted, entries, strict=True):
            key = one.key(self._maker)
            tensors = {"mean": entry.mean, "std": entry.deviation}
            if entry.mask is not None:
                tensors["mask"] = entry.mask
            data = safetensors.serialize(tensors, {"sha256": safetensors.payload_hash(tensors)})
            self.store.put(key, lambda path, d=data: path.write_bytes(d))
            self._keep(key, entry)

    def _keep(self, key: str, entry: Entry) -> None:
        """Puts an entry into memory; those not asked for the longest leave."""
        before = self._kept.pop(key, None)
        self._size += entry.bytes - (before.bytes if before else 0)
        self._kept[key] = entry
        while self._size > self._limit and self._kept:
            self._size -= self._kept.popitem(last=False)[1].bytes

    def _load(self, key: str) -> Entry | None:
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        path = self.store.path(key)
        if not path.exists():
            return None
        try:
            metadata = safetensors.read_header(path)[1]
            tensors = {name: t.clone() for name, t in safetensors.read_tensors(path).items()}
        except UserError:
            tensors, metadata = {}, {}
        whole = tensors.keys() - {"mask"} == {"mean", "std"}
        if not whole or safetensors.payload_hash(tensors) != metadata.get("sha256"):
            path.unlink(missing_ok=True)  # made anew
            self._damaged += 1
            return None
        entry = Entry(tensors["mean"], tensors["std"], tensors.get("mask"))
        self._keep(key, entry)
        return entry


def _decoded(group: Sequence[Wanted]) -> list[Pixels]:
    return [load_fitted(entry.item, Augment(entry.fit, entry.flip)) for entry in group]


def _alike(wanted: Sequence[Wanted], batch_size: int) -> Iterator[list[Wanted]]:
    groups: dict[tuple[int, int], list[Wanted]] = {}
    for entry in wanted:
        groups.setdefault((entry.fit.width, entry.fit.height), []).append(entry)
    for group in groups.values():
        for start in range(0, len(group), batch_size):
            yield group[start : start + batch_size]
