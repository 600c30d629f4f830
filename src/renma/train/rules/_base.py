"""What a rule of the preflight is: a small pure function from the facts of a run to findings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from renma.config import Run
from renma.config.layer_table import Choice
from renma.config.prompts import Prompt
from renma.core.errors import UserError
from renma.data.buckets import Fit
from renma.data.folder import Scan, ScannedSet, scan
from renma.data.item import Item
from renma.data.order import Order
from renma.formats.model_facts import ModelFacts
from renma.train.caption_plan import Tokens
from renma.train.judge_plan import Judgings
from renma.train.picture_plan import Seen
from renma.train.procedures.copier_stage import datasets_before
from renma.train.save_plan import Saves

Level = Literal["error", "warning", "note"]
_TOY = 50_000_000
"""A U-Net with fewer numbers is for trying out; what suits real models says nothing about it."""


@dataclass(frozen=True)
class Facts:
    """All that rules may look at.

    Attributes:
        run: the run.
        base: its folder.
        scan: its pictures.
        order: its batches.
        model: its base model.
        chosen: the layers that are trained.
        parts: the model's parts that are trained.
        steps: optimizer steps.
        seen: how often training pictures are shown.
        prompts: of the previews.
        saves: what will be written.
        tokens: counts tokens of captions.
        gpu: whether training will compute on one.
        judgings: of checkpoints while training.
    """

    run: Run
    base: Path
    scan: Scan
    order: Order
    model: ModelFacts
    chosen: Sequence[Choice]
    parts: tuple[str, ...]
    steps: int
    seen: Seen
    prompts: Sequence[Prompt]
    saves: Saves
    tokens: Tokens
    gpu: bool
    judgings: Judgings

    @cached_property
    def trained(self) -> list[Item]:
        """The pictures that are trained, without regularisation pictures."""
        return [i for s in self.scan.sets for i in s.items if not i.subset.is_reg]

    @cached_property
    def reg(self) -> list[Item]:
        """The regularisation pictures."""
        return [i for s in self.scan.sets for i in s.items if i.subset.is_reg]

    @cached_property
    def before(self) -> tuple[ScannedSet, ...]:
        """The pictures before the change that a copier learns first; of other runs none."""
        config = self.run.copier
        if not config.on or self.run.erase.on:
            return ()
        datasets = tuple(scanned.dataset for scanned in self.scan.sets)
        return scan(datasets_before(datasets, config, self.base), self.run.data).sets

    @cached_property
    def fits(self) -> list[tuple[Item, Fit]]:
        """Every picture with how it is fitted."""
        return [
            pair
            for scanned, fits in zip(self.order.sets, self.order.fits, strict=True)
            for pair in zip(scanned.items, fits, strict=True)
        ]

    @property
    def is_toy(self) -> bool:
        """Whether the model is one for trying out, such as mame."""
        return self.model.parts["unet"].numbers < _TOY


@dataclass(frozen=True)
class Said:
    """What a rule found in a run.

    Attributes:
        message: what is wrong; it names the option or file.
        remedy: what to do about it.
        where: the option, ``section.key``; empty where the message says it.
    """

    message: str
    remedy: str = ""
    where: str = ""


@dataclass(frozen=True)
class Rule:
    """One thing that is looked at before every training.

    Attributes:
        id: its name, in words joined by dashes.
        level: ``error`` stops the run, ``warning`` is about a likely mistake, ``note`` is worth
            knowing.
        about: what is looked at, a sentence.
        reason: why it matters.
        look: yields what it found.
    """

    id: str
    level: Level
    about: str
    reason: str
    look: Callable[[Facts], Iterable[Said]]


@dataclass(frozen=True)
class Finding:
    """Something found by a rule.

    Attributes:
        rule: the rule's id.
        level: ``error``, ``warning`` or ``note``.
        where: the option, if it is one.
        message: what is wrong.
        reason: why it matters.
        remedy: what to do.
    """

    rule: str
    level: Level
    where: str
    message: str
    reason: str
    remedy: str

    def line(self) -> str:
        """Returns message and remedy on one line."""
        end = "" if self.message.endswith(".") else "."
        return f"{self.message}{end} {self.remedy}".strip()


def find(rules: Iterable[Rule], facts: Facts) -> tuple[Finding, ...]:
    """Returns what the rules find, in their order.

    Raises:
        UserError: an error is found.
    """
    found = tuple(_findings(rules, facts))
    for each in found:
        if each.level == "error":
            raise UserError(each.message, where=each.where or None, remedy=each.remedy)
    return found


def _findings(rules: Iterable[Rule], facts: Facts) -> Iterator[Finding]:
    for rule in rules:
        for said in rule.look(facts):
            yield Finding(rule.id, rule.level, said.where, said.message, rule.reason, said.remedy)


def some(names: Sequence[str], most: int = 3) -> str:
    """Returns a few names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
