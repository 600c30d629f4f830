"""One cell while axes change it, and the recipe that it becomes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from renma.config.block_weights import block_factors
from renma.config.picture_recipe import Recipe
from renma.config.prompts import Prompt
from renma.core.errors import UserError
from renma.drawing.picture_source import Shelf
from renma.judge.grid.block_value import strengths
from renma.judge.grid.entry import Entry, Home


@dataclass(frozen=True)
class Draft:
    """What one cell shows; axes change copies of it.

    Attributes:
        home: the model.
        entry: the LoRA; None is the base model alone.
        prompt: as it was written.
        unet: strength in the U-Net.
        text_encoder: strength in the text encoders.
        blocks: value of the block axis; empty is all of them.
        rank: the LoRA is cut to it; None leaves it whole.
        words: (searched, put there instead) in prompt and negative prompt, one after another.
        settings: fields of the prompt that win over its own.
    """

    home: Home
    entry: Entry | None
    prompt: Prompt
    unet: float = 1.0
    text_encoder: float = 1.0
    blocks: str = ""
    rank: int | None = None
    words: tuple[tuple[str, str], ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)

    def set(self, name: str, value: object) -> Draft:
        """Returns the draft with one field of its prompt set for good."""
        return replace(self, settings={**self.settings, name: value})

    def without_lora(self) -> Draft:
        """Returns the draft of the base model."""
        return replace(self, entry=None)


def recipe(draft: Draft, shelf: Shelf) -> Recipe:
    """Returns how a draft is drawn, with the whole LoRA whatever its rank.

    Args:
        draft: the cell.
        shelf: where LoRAs are found that prompts name.

    Raises:
        UserError: blocks that the model does not have, a LoRA that is nowhere, or words that are
            not in the prompt.
    """
    prompt = _prompt(draft)
    loras = draft.home.standing
    if draft.entry is not None:
        blocks = strengths(draft.blocks, draft.home.sdxl) if draft.blocks else ""
        if blocks:
            block_factors(blocks, draft.home.sdxl, f"block={draft.blocks}")
        how = {"unet": draft.unet, "text_encoder": draft.text_encoder, "blocks": blocks}
        loras = (*loras, draft.entry.lora.model_copy(update=how))
    named = shelf.named_in([prompt.text], prompt.negative)
    return Recipe(**draft.home.basis, prompt=prompt, loras=loras, named=named)


def _prompt(draft: Draft) -> Prompt:
    text, negative = draft.prompt.text, draft.prompt.negative
    for old, new in draft.words:
        if old not in text and old not in negative:
            raise UserError(
                f"'{old}' is not in the prompt '{text}'",
                where=f"replace={old},...",
                remedy="The first word is the one that is looked for.",
            )
        text, negative = text.replace(old, new), negative.replace(old, new)
    native = draft.home.native_size
    size = {name: getattr(draft.prompt, name) or native for name in ("width", "height")}
    told = {"text": text, "negative": negative, **size, **draft.settings}
    return draft.prompt.model_copy(update=told)
