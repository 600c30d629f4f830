"""The plan of a run that learns from words alone: no pictures, epochs that never end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from renma.config import Run
from renma.config.erase import ErasePrompt
from renma.config.optimizer_rules import problems
from renma.config.prompts import PromptList
from renma.core.counted import counted
from renma.data import folder as folders
from renma.data.order import Batch, Order, Showing
from renma.data.summary import Coverage
from renma.formats.model_facts import ModelFacts
from renma.train import machine, rate_chart, rules, start_plan
from renma.train.cache_plan import Cached
from renma.train.caption_plan import Captions
from renma.train.footing import footing
from renma.train.judge_plan import Judgings
from renma.train.picture_plan import Seen
from renma.train.plan import FIXED_SECONDS, Made, Plan, Prepared, words
from renma.train.rules import captions, pictures, sizes, stop
from renma.train.rules import words as word_rules
from renma.train.rules._base import Facts, Finding, Rule, find
from renma.train.speed import speed
from renma.train.trained import batches_per_step, trained_layers

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
    slots = tuple(model.slots())
    chosen = trained_layers(run, run.adapter, slots, base)
    start_plan.check(run, base, slots)
    made = _Erasing(run, base, scan, order, model, chosen, footing(run, model, order, slots))
    factors = {rate for _, _, rate in chosen}
    problems(run, made.parts, made.steps, factors, cpu=machine.on_processor(run)).refuse()
    known = Facts(
        run, base, scan, order, model, chosen, made.parts, made.steps, Seen(0, 0, 0, 0),
        prompts.prompts,
        replace(made.saves, previews=len(prompts.prompts) * len(run.sample.weights)),
        made.tokens, made.gpu, Judgings(),
    )  # fmt: skip
    plan = made.plan(known, prompts.notes, find(FITTING, known))
    return Prepared(plan, scan, order, {}, made.flops, made.footing, model)


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

    def plan(self, known: Facts, told: Sequence[str], found: Sequence[Finding]) -> Plan:
        run, counts = self.run, [len(batch.showings) for batch in self.order.epoch(0)]
        rate, measured = speed(run.train.precision)
        rates = {part: run.optimizer.rate(part) for part in self.parts}
        memory = {**vars(self.memory), "caching_latents": 0.0}
        batches = self.steps * batches_per_step(run)
        return Plan(
            preset=run.preset,
            model=words(self.model, run),
            pictures=0,
            reg_pictures=0,
            held_out=0,
            showings_per_epoch=0,
            batches_per_epoch=batches,
            batches_per_step=batches_per_step(run),
            steps=self.steps,
            epochs=1.0,
            samples=round(batches * sum(counts) / len(counts)),
            seen=known.seen,
            regularisation=Coverage(0, 0, 0, 0),
            buckets={},
            bucket_rows=(),
            captions=Captions(0, 0, 0, 0, known.tokens.room, 0, None, ""),
            cached=Cached(0, 0, 0),
            parameters=self.size[0],
            rates=rates,
            rate_chart=tuple(rate_chart.lines(run, self.steps, list(rates.items()))),
            file_bytes=self.size[1],
            saves=known.saves,
            judgings=known.judgings,
            memory_mib=round(self.memory.total),
            memory={name: round(mib, 1) for name, mib in memory.items()},
            seconds=round(FIXED_SECONDS + self.steps * self.flops / rate),
            seconds_known=measured,
            warnings=(*told, *(f.line() for f in found if f.level == "warning")),
            notes=tuple(f.line() for f in found if f.level == "note"),
            findings=tuple(found),
            method=tuple(rows(run, self.model)),
        )


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
