"""States of captions for a text encoder that is not trained: encoded once for each final text."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch

from renma.core.errors import UserError
from renma.engine.text_cache import Encoded, TextCache, Words
from renma.families._base import Condition, Family

MEMORY = 512 * 2**20
"""Bytes of states kept in memory that can be had again; shuffled captions can be endless."""
Progress = Callable[[int, int], None]


class TextStates:
    """Text encoder output per final caption, for a text encoder that is not trained.

    What is asked for is the same bits whether it was encoded now, earlier or in another run, alone
    or with others.

    Args:
        family: encodes captions not met before; its encoders may leave once all are known.
        cache: where prepared captions are kept on disk (default: in memory only).
    """

    def __init__(self, family: Family, cache: TextCache | None = None) -> None:
        self.family, self.cache = family, cache
        self._held: dict[Words, Encoded] = {}  # no disk has them
        self._recent: OrderedDict[Words, Encoded] = OrderedDict()
        self._recent_bytes = 0

    def missing(
        self, captions: Sequence[str], *, chunks: int | None = None, weighted: bool | None = None
    ) -> list[str]:
        """Returns the captions that would have to be encoded; arguments as in `condition`."""
        return [
            caption
            for caption in dict.fromkeys(captions)
            if not self._known(Words.of(caption, chunks, weighted))
        ]

    def prepare(
        self,
        captions: Sequence[str],
        progress: Progress = lambda _done, _total: None,
        *,
        chunks: int | None = None,
        weighted: bool | None = None,
    ) -> int:
        """Encodes captions ahead, each once, and keeps them for good.

        Args:
            captions: final texts.
            progress: called with (captions known, captions in all).
            chunks: as in :meth:`condition`.
            weighted: as in :meth:`condition`.

        Returns:
            How many had to be encoded.
        """
        wanted = list(dict.fromkeys(Words.of(caption, chunks, weighted) for caption in captions))
        fresh = [words for words in wanted if not self._have(words)]
        done = len(wanted) - len(fresh)
        progress(done, len(wanted))
        for group in self._batches(fresh):
            for words, encoded in zip(group, self._encode(group), strict=True):
                self._keep(words, encoded)
            done += len(group)
            progress(done, len(wanted))
        return len(fresh)

    def keep_all(self) -> None:
        """Forgets nothing that is known now: for when the text encoder leaves."""
        for words in [w for w in self._recent if not (self.cache and self.cache.holds(w))]:
            self._held[words] = self._forget(words)

    def condition(
        self, captions: Sequence[str], *, chunks: int | None = None, weighted: bool | None = None
    ) -> Condition:
        """Returns the condition of a batch of captions, without sizes, beside the U-Net.

        Args:
            captions: final texts.
            chunks: rows of 75 tokens a text may fill (default: the model's setting).
            weighted: whether brackets weigh (default: the model's setting).

        Raises:
            UserError: the text encoder has left and the cache on disk was removed meanwhile.
        """
        rows = [Words.of(caption, chunks, weighted) for caption in captions]
        fresh = [words for words in dict.fromkeys(rows) if not self._have(words)]
        for group in self._batches(fresh):
            for words, encoded in zip(group, self._encode(group), strict=True):
                self._remember(words, encoded)
        found = [self._held.get(words) or self._recent[words] for words in rows]
        self._trim()
        device = self.family.device
        pooled = [row.pooled for row in found if row.pooled is not None]
        return Condition(
            torch.stack([row.states for row in found]).to(device),
            torch.stack(pooled).to(device) if pooled else None,
        )

    def _known(self, words: Words) -> bool:
        here = words in self._held or words in self._recent
        return here or (self.cache is not None and self.cache.holds(words))

    def _have(self, words: Words) -> bool:
        """Says whether a text is in memory now; one on disk is read."""
        if words in self._held:
            return True
        if words in self._recent:
            self._recent.move_to_end(words)
            return True
        encoded = self.cache.load(words) if self.cache else None
        if encoded is not None:
            self._remember(words, encoded)
        return encoded is not None

    def _keep(self, words: Words, encoded: Encoded) -> None:
        if self.cache is None:
            self._held[words] = encoded
            return
        self.cache.save(words, encoded)
        self._remember(words, encoded)
        self._trim()

    def _remember(self, words: Words, encoded: Encoded) -> None:
        self._recent[words] = encoded
        self._recent_bytes += encoded.bytes

    def _forget(self, words: Words) -> Encoded:
        encoded = self._recent.pop(words)
        self._recent_bytes -= encoded.bytes
        return encoded

    def _trim(self) -> None:
        while self._recent_bytes > MEMORY:
            self._forget(next(iter(self._recent)))

    def _batches(self, words: Sequence[Words]) -> list[list[Words]]:
        groups: dict[tuple[int | None, bool | None], list[Words]] = {}
        for one in words:
            groups.setdefault(one[1:], []).append(one)
        size = self._batch_size()
        return [
            group[start : start + size]
            for group in groups.values()
            for start in range(0, len(group), size)
        ]

    def _batch_size(self) -> int:
        # neighbours in a batch change the last bits on a CPU, where equal runs are promised
        return 1 if self.family.device.type == "cpu" else 8

    def _encode(self, group: Sequence[Words]) -> list[Encoded]:
        """Encodes texts that share chunks and weighting.

        Previews may ask in inference mode, whose tensors no backward pass could use later.
        """
        if not set(self.family.text_parts) <= self.family.parts().keys():
            raise UserError(
                f"the cached text of '{group[0].text}' is gone and the text encoder has left",
                remedy="Go on with --resume, which encodes it again.",
            )
        _, chunks, weighted = group[0]
        # an accelerator chooses its kernels by the batch's size: it is always the same
        texts = [one.text for one in group] + [group[-1].text] * (self._batch_size() - len(group))
        with torch.inference_mode(False), torch.no_grad():
            condition = self.family.encode_text(texts, chunks=chunks, weighted=weighted)
        states = [row.clone() for row in condition.states.cpu()[: len(group)]]
        pooled = [None] * len(group)
        if condition.pooled is not None:
            pooled = [row.clone() for row in condition.pooled.cpu()[: len(group)]]
        return [Encoded(*pair) for pair in zip(states, pooled, strict=True)]
