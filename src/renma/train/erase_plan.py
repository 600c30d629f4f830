"""The plan of a run that learns from words alone: no pictures, epochs that never end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from renma.config import Run
from renma.config.erase import ErasePrompt
from renma.config.prompts import PromptList
from renma.core.counted import counted
from renma.data import folder as folders
from renma.data.order import Batch, Order, Showing
from renma.formats.model_facts import ModelFacts
from renma.train import rules
from renma.train.judge_plan import Judgings
from renma.train.picture_plan import Bucket, Seen
from renma.train.plan import Made, Plan, Prepared
from renma.train.rules import captions, pictures, sizes, stop
from renma.train.rules import words as word_rules
from renma.train.rules._base import Facts, Finding, Rule
from renma.train.trained import batches_per_step

_ABOUT_PICTURES = frozenset(
    rule.id for room in (pictures, sizes, captions, word_rules, stop) for rule in room.RULES
) | {"prior-idle", "objective", "nothing-held-out", "ranks-unmeasured", "two-lengths"}
"""Rules that look at what a run without pictures does not have."""
_SHOWN = 6
"""Concepts that the plan names."""
FITTING: tuple[Rule, ...] = tuple(rule for rule in rules.ALL if rule.id not in _ABOUT_PICTURES)
"""Rules for a run without pictures."""


class Endless(Order):
    """The order of a run without pictures: a single epoch that never ends.

    Args:
        batches: one for each size and number of samples that may come, to reckon with.
        seed: the run's seed.
    """

    def __init__(self, batches: Sequence[Batch], seed: int) -> None:
        super().__init__((), seed)
        self._batches = tuple(batches)

    @property
    def batches_per_epoch(self) -> int:
        """Returns how many batches :meth:`epoch` has."""
        return len(self._batches)

    def locate(self, number: int) -> tuple[int, int]:
        """Returns the first epoch, always."""
        return 0, number

    def batches_in(self, epochs: int) -> int:  # noqa: ARG002
        """Returns more batches than any run has: no epoch is ever completed."""
        return 2**62

    def epoch(self, number: int) -> tuple[Batch, ...]:  # noqa: ARG002
        """Returns the batches that may come."""
        return self._batches


def prepare(run: Run, base: Path, model: ModelFacts, prompts: PromptList) -> Prepared:
    """Does the arithmetic; no model is loaded.

    Args:
        run: the run, its concepts written out.
        base: folder that relative paths start from.
        model: the base model.
        prompts: of the previews.

    Raises:
        UserError: anything that would stop the run later.
    """
    order = Endless([_batch(one, run, model) for one in run.erase.prompts], run.train.seed)
    scan = folders.Scan((), (), ())
    made = _Erasing.of(run, base, scan, order, model)
    return made.prepared(prompts, FITTING, {})


def _batch(concept: ErasePrompt, run: Run, model: ModelFacts) -> Batch:
    side, count = concept.side(model.native_size), concept.batch_size * run.erase.points
    return Batch(0, (side, side), tuple(Showing(0, 0, i, False) for i in range(count)))


class _Erasing(Made):
    """The arithmetic of a run without pictures."""

    @cached_property
    def steps(self) -> int:
        """Optimizer steps; epochs, which a rule refuses, would be endless."""
        return self.run.train.max_steps

    @property
    def steps_gone(self) -> float:
        """Steps of a way that are gone on average: as far as the last place that is learnt from."""
        first, last = self.run.erase.range
        points = self.run.erase.points
        return first - 1 + points * (last - first + 2) / (points + 1)

    @cached_property
    def flops(self) -> float:
        """Operations of one optimizer step."""
        config, every = self.run.erase, self.run.erase.prompts
        passes = 3 if self.run.train.gradient_checkpointing else 2
        total = 0.0
        for concept in every:
            way = self.steps_gone * (2 if config.guidance > 1 else 1)
            learnt = config.points * (len(concept.frozen_texts) + passes)
            pixels = concept.batch_size * concept.side(self.model.native_size) ** 2
            shrunk = 0.75**2 if concept.dynamic_resolution else 1
            total += (way + learnt) * self.forward_flops(pixels * shrunk)
        return total / len(every) * batches_per_step(self.run)

    @cached_property
    def seen(self) -> Seen:
        """How often pictures are shown: there are none."""
        return Seen(0, 0, 0, 0)

    @property
    def buckets(self) -> tuple[Bucket, ...]:
        """The sizes of the pictures: there are none."""
        return ()

    @cached_property
    def caching_mib(self) -> float:
        """What encoding pictures needs: nothing."""
        return 0.0

    @property
    def judgings(self) -> Judgings:
        """Judgings while training, which a rule refuses."""
        return Judgings()

    def method(self, known: Facts) -> list[tuple[str, str]]:  # noqa: ARG002
        """Returns the concepts and the way to their pictures."""
        return rows(self.run, self.model)

    def plan(self, known: Facts, told: Sequence[str], found: Sequence[Finding]) -> Plan:
        """Returns the plan; all of it is one epoch."""
        plan = super().plan(known, told, found)
        return replace(plan, showings_per_epoch=0, batches_per_epoch=self.batches, epochs=1.0)


def rows(run: Run, model: ModelFacts) -> list[tuple[str, str]]:
    """Returns the concepts and the way to their pictures, for people."""
    config, every = run.erase, run.erase.prompts
    told = [(one.action, _words(one, model)) for one in every[:_SHOWN]]
    if len(every) > _SHOWN:
        told.append(("", f"and {counted(len(every) - _SHOWN, 'concept')} more"))
    first, last = config.range
    gone = f"{first} to {last} of {config.steps} steps of {config.sampler}"
    places = f", {config.points} places each" if config.points > 1 else ""
    return [*told, ("drawn", f"{gone}, guidance {config.guidance:g}{places}, by the LoRA as it is")]


def _words(concept: ErasePrompt, model: ModelFacts) -> str:
    away = "away from" if concept.action == "erase" else "towards"
    beyond = ""
    if concept.guidance_scale:
        beyond = f", and {concept.guidance_scale:g} x {away} '{concept.away}'"
        beyond += f" seen from '{concept.unconditional}'" if concept.unconditional else ""
    side = concept.side(model.native_size)
    size = f"{side // 2} to {side}" if concept.dynamic_resolution else f"{side}x{side}"
    count = counted(concept.batch_size, "picture")
    return f"'{concept.target}' like '{concept.like}'{beyond}; {count} of {size} pixels"
