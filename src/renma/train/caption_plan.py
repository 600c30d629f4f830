"""Captions in the plan: how many tokens they take, what is cut, what a showing says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from renma.config import Run
from renma.data.captions import is_random, plain_caption, shown_caption
from renma.data.item import Item
from renma.data.notes import shown
from renma.data.order import Order
from renma.formats.model_facts import ModelFacts

if TYPE_CHECKING:
    from renma.formats.clip_tokens import ClipTokens


class Tokens:
    """Counts the tokens of a run's model; the tokenizer is read only when it is needed.

    Args:
        run: says how many tokens are read, and whether brackets weigh.
        model: whose tokenizer it is.
    """

    def __init__(self, run: Run, model: ModelFacts) -> None:
        self.room = run.model.max_tokens
        self._weighted, self._model = run.model.weighted_captions, model
        self._known: dict[str, int] = {}

    def count(self, text: str) -> int:
        """Returns how many tokens a text takes, without start and end."""
        if text not in self._known:
            self._known[text] = self._clip.count(text, weighted=self._weighted)
        return self._known[text]

    def fits(self, text: str, room: int | None = None) -> bool:
        """Says whether all of a text is read, or would be with less room."""
        room = room or self.room
        # every token takes at least one byte, so short texts need no tokenizer
        return len("".join(text.split()).encode()) <= room or self.count(text) <= room

    def words(self, text: str) -> list[str]:
        """Returns the pieces that a text is read as, `</w>` at the end of a word."""
        return [str(self._clip.tokenizer.id_to_token(n)) for n in self._clip.numbers(text)]

    @cached_property
    def _clip(self) -> ClipTokens:
        from renma.formats.clip_tokens import ClipTokens  # most checks need no tokenizer

        folder = self._model.tokenizers["text_encoder"]
        return ClipTokens.of_folder(folder) if folder else ClipTokens.shipped()


@dataclass(frozen=True)
class Captions:
    """The captions of all pictures that are trained.

    Attributes:
        pictures: how many there are.
        without: pictures without any words.
        different: how many texts there are.
        random: pictures whose showings may differ.
        room: tokens that are read.
        cut: pictures whose caption is longer.
        longest: tokens of the longest caption; None where all are too short to need counting.
        longest_picture: its file.
    """

    pictures: int
    without: int
    different: int
    random: int
    room: int
    cut: int
    longest: int | None
    longest_picture: str


@dataclass(frozen=True)
class Said:
    """What one showing of a picture says.

    Attributes:
        picture: the file.
        caption: after shuffling, dropping and everything else.
        tokens: that it takes.
        cut: tokens that are not read.
    """

    picture: str
    caption: str
    tokens: int
    cut: int


def captions(items: Sequence[Item], tokens: Tokens, *, count: bool) -> Captions:
    """Returns the figures of all captions.

    Args:
        items: the pictures.
        tokens: counts.
        count: count tokens even where every caption is known to fit.
    """
    texts = {item.path: plain_caption(item) for item in items}
    cut = [path for path, text in texts.items() if not tokens.fits(text)]
    longest, name = None, ""
    if (cut or count) and texts:
        path = max(texts, key=lambda each: tokens.count(texts[each]))
        longest, name = tokens.count(texts[path]), shown(path.name)
    return Captions(
        pictures=len(items),
        without=sum(not text for text in texts.values()),
        different=len(set(texts.values())),
        random=sum(is_random(item.subset) for item in items),
        room=tokens.room,
        cut=len(cut),
        longest=longest,
        longest_picture=name,
    )


def first_epoch(order: Order, tokens: Tokens, seed: int, steps: int) -> Iterator[Said]:
    """Yields every picture once, with the caption of its first showing in the first epoch."""
    told: set[tuple[int, int]] = set()
    for batch in order.epoch(0) if order.sets else ():  # without pictures nothing is shown
        for each in batch.showings:
            place = (each.set_index, each.item_index)
            if place in told:
                continue
            told.add(place)
            item = order.sets[each.set_index].items[each.item_index]
            text = shown_caption(item, seed, 0, each.position, 0, steps)
            number = tokens.count(text)
            yield Said(shown(item.path.name), text, number, max(0, number - tokens.room))
