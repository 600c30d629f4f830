"""The rules of the preflight, in the order in which their findings are shown."""

from __future__ import annotations

from renma.train.rules import adapter, captions, model, pictures, rates, saving, sizes, stop, words

ALL = (
    *model.RULES,
    *pictures.RULES,
    *sizes.RULES,
    *captions.RULES,
    *words.RULES,
    *adapter.RULES,
    *rates.RULES,
    *saving.RULES,
    *stop.RULES,
)
