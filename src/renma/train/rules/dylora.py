"""Rules about DyLoRA's ranks."""

from __future__ import annotations

from collections.abc import Iterator

from renma.config.adapter import DyLora
from renma.train.rules._base import Facts, Rule, Said


def _unmeasured(facts: Facts) -> Iterator[Said]:
    adapter = facts.run.adapter
    if isinstance(adapter, DyLora) and not any(s.held_out for s in facts.scan.sets):
        yield Said(
            "adapter.algo = 'dylora' without held-out pictures: nothing will tell which of its "
            "ranks is enough",
            "With data.validation_split = 0.1 the run ends with a table of all of them.",
            "data.validation_split",
        )


RULES = (
    Rule(
        "ranks-unmeasured",
        "note",
        "DyLoRA without held-out pictures.",
        "One training makes files of many ranks; which to cut only pictures tell that were not "
        "trained on.",
        _unmeasured,
    ),
)
