"""Latents of pictures: encoded once, kept on disk, keyed by all they depend on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from renma.core.errors import UserError
from renma.core.store import Store, digest
from renma.data.buckets import Fit, load_fitted
from renma.families._base import Family
from renma.formats import safetensors

if TYPE_CHECKING:
    from renma.data.item import Item

VERSION = 1
"""Raise it when the same inputs would give other latents."""
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Wanted:
    """One picture as it is encoded."""

    item: Item
    fit: Fit
    flip: bool

    def key(self, maker: str) -> str:
        """Returns the digest of everything that determines the latents.

        Args:
            maker: the VAE's hash and the kind of device it computes on.
        """
        fit, background = self.fit, self.item.subset.background
        size = (fit.width, fit.height, *fit.resized, *fit.crop)
        return digest([VERSION, maker, self.item.digest, *size, *background, self.flip])


class Latents:
    """Posterior mean and deviation of pictures, encoded once and kept on disk.

    Args:
        family: encodes what is not on disk yet; its VAE may leave after :meth:`prepare`.
        store: where entries lie.
    """

    def __init__(self, family: Family, store: Store | None = None) -> None:
        self.family = family
        self.store = store or Store("latents", ".safetensors")
        device = next(family.parts()["vae"].parameters()).device.type
        self._maker = f"{family.hashes['vae']} {device}"
        # neighbours in a batch change the last bits on a CPU, where equal runs are promised
        self._batch = 1 if device == "cpu" else 4
        self._kept: dict[str, tuple[Tensor, Tensor]] = {}

    def prepare(self, wanted: Sequence[Wanted], progress: Progress) -> int:
        """Encodes what is missing and returns how many that were.

        Raises:
            UserError: a picture whose latents are not finite, by name.
        """
        keys = {entry.key(self._maker): entry for entry in wanted}
        missing = [entry for key, entry in keys.items() if not self._load(key)]
        done = len(keys) - len(missing)
        progress(done, len(keys))
        for group in _alike(missing, self._batch):
            self._encode(group)
            done += len(group)
            progress(done, len(keys))
        return len(missing)

    def get(self, wanted: Wanted) -> tuple[Tensor, Tensor]:
        """Returns (mean, deviation) of one picture, each (channels, h, w)."""
        return self._kept[wanted.key(self._maker)]

    @torch.inference_mode()
    def _encode(self, group: Sequence[Wanted]) -> None:
        arrays = [load_fitted(w.item, w.fit, w.item.subset) for w in group]
        pixels = torch.stack([torch.from_numpy(a).permute(2, 0, 1) for a in arrays])
        pixels = torch.stack(
            [p.flip(-1) if w.flip else p for p, w in zip(pixels, group, strict=True)]
        )
        mean, deviation = self.family.encode_image(pixels.float() / 127.5 - 1)
        for entry, m, d in zip(group, mean.cpu(), deviation.cpu(), strict=True):
            if not (m.isfinite().all() and d.isfinite().all()):
                raise UserError("the VAE turns this picture into NaN", where=entry.item.path)
            key = entry.key(self._maker)
            tensors = {"mean": m.clone(), "std": d.clone()}
            data = safetensors.serialize(tensors, {"sha256": safetensors.payload_hash(tensors)})
            self.store.put(key, lambda path, d=data: path.write_bytes(d))
            self._kept[key] = (tensors["mean"], tensors["std"])

    def _load(self, key: str) -> bool:
        if key in self._kept:
            return True
        path = self.store.path(key)
        if not path.exists():
            return False
        try:
            metadata = safetensors.read_header(path)[1]
            tensors = {name: t.clone() for name, t in safetensors.read_tensors(path).items()}
        except UserError:
            tensors, metadata = {}, {}
        whole = tensors.keys() == {"mean", "std"}
        if not whole or safetensors.payload_hash(tensors) != metadata.get("sha256"):
            path.unlink()  # a damaged entry is made anew
            return False
        self._kept[key] = (tensors["mean"], tensors["std"])
        return True


def _alike(wanted: Sequence[Wanted], batch_size: int) -> Iterator[list[Wanted]]:
    groups: dict[tuple[int, int], list[Wanted]] = {}
    for entry in wanted:
        groups.setdefault((entry.fit.width, entry.fit.height), []).append(entry)
    for group in groups.values():
        for start in range(0, len(group), batch_size):
            yield group[start : start + batch_size]
