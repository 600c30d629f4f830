"""The rules of the preflight, in the order in which their findings are shown."""

from __future__ import annotations

from renma.train.rules import (
    adapter,
    captions,
    concepts,
    copier,
    dylora,
    erase,
    model,
    pictures,
    rates,
    relora,
    saving,
    sizes,
    stop,
    words,
)

ALL = (
    *model.RULES,
    *pictures.RULES,
    *sizes.RULES,
    *captions.RULES,
    *words.RULES,
    *adapter.RULES,
    *copier.RULES,
    *dylora.RULES,
    *erase.RULES,
    *concepts.RULES,
    *rates.RULES,
    *relora.RULES,
    *saving.RULES,
    *stop.RULES,
)
