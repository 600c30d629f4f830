"""Text encoder output on disk: one small file a caption, keyed by all it depends on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from renma.core.errors import UserError
from renma.core.store import Store, digest
from renma.families._base import Family
from renma.formats import safetensors

VERSION = 1
"""Raise it when the same inputs would give other states."""
_MARKS = frozenset("()[]\\")
"""Signs that weigh words."""


class Words(NamedTuple):
    """One text as it is encoded."""

    text: str
    chunks: int | None
    """Rows of 75 tokens it may fill; None is the model's setting."""
    weighted: bool | None
    """Whether its brackets weigh; None is the model's setting."""

    @classmethod
    def of(cls, text: str, chunks: int | None, weighted: bool | None) -> Words:
        """Returns a text's one spelling: without brackets it is the same weighted or not."""
        return cls(text, chunks, weighted if _MARKS & set(text) else False)


class Encoded(NamedTuple):
    """What the text encoders make of one text."""

    states: Tensor
    """(tokens, width)"""
    pooled: Tensor | None
    """(width,) where the family has it."""

    @property
    def bytes(self) -> int:
        """Memory it takes."""
        return sum(tensor.nbytes for tensor in self if tensor is not None)


class TextCache:
    """Encoded texts on disk; an entry is never stale and a damaged one is not believed.

    Args:
        family: whose text encoders make the entries; they need not be in memory.
        made_by: what else decides their output: precision, clip skip, the model's settings for
            long and weighted captions, hashes and strengths of what was merged into the model.
        store: where entries lie.
    """

    def __init__(
        self, family: Family, made_by: Sequence[object], store: Store | None = None
    ) -> None:
        self.store = store or Store("text", ".safetensors")
        encoders = [family.hashes[part] for part in family.text_parts]
        device = family.device.type
        self._maker = digest([VERSION, family.name, *encoders, device, *made_by])

    def holds(self, words: Words) -> bool:
        """Says whether there is an entry, whole or damaged."""
        return self.store.path(self._key(words)).exists()

    def load(self, words: Words) -> Encoded | None:
        """Returns an entry, or None if there is none; a damaged one is removed."""
        path = self.store.path(self._key(words))
        try:
            metadata = safetensors.read_header(path)[1]
            tensors = {name: t.clone() for name, t in safetensors.read_tensors(path).items()}
        except UserError:
            tensors, metadata = {}, {}
        whole = "states" in tensors and tensors.keys() <= {"states", "pooled"}
        if not whole or safetensors.payload_hash(tensors) != metadata.get("sha256"):
            path.unlink(missing_ok=True)
            return None
        return Encoded(tensors["states"], tensors.get("pooled"))

    def save(self, words: Words, encoded: Encoded) -> None:
        """Writes an entry.

        Raises:
            UserError: the disk is full.
        """
        tensors = {k: t for k, t in encoded._asdict().items() if t is not None}
        data = safetensors.serialize(tensors, {"sha256": safetensors.payload_hash(tensors)})
        self.store.put(self._key(words), lambda path: path.write_bytes(data), size=len(data))

    def _key(self, words: Words) -> str:
        return digest([self._maker, words.chunks, words.weighted, words.text])
