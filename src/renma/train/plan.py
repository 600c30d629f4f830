"""The plan of a run, before anything is loaded: what will happen, what it costs, what is odd."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from renma.config import Run, costs
from renma.config import estimate as arithmetic
from renma.config.data import Dataset
from renma.config.layer_table import Choice
from renma.config.optimizer_rules import problems
from renma.config.prompts import PromptList
from renma.config.prompts import read as read_prompts
from renma.core.errors import UserError
from renma.data import folder as folders
from renma.data.buckets import validate_sizes
from renma.data.order import Order
from renma.data.summary import Coverage, coverage, summarise
from renma.formats.model_facts import ModelFacts, facts
from renma.train import foreign, machine, rate_chart, relora_plan, rules, start_plan
from renma.train.cache_plan import Cached, cached
from renma.train.caption_plan import Captions, Tokens, captions
from renma.train.footing import footing
from renma.train.judge_plan import Judgings, judgings
from renma.train.picture_plan import Bucket, Seen, buckets, seen
from renma.train.procedures import copier_stage
from renma.train.rules._base import Facts, Finding, Rule, find
from renma.train.save_plan import Saves, saves
from renma.train.speed import remember_speed, speed
from renma.train.trained import batches_per_step, total_steps, trained_layers, trained_parts

__all__ = [
    "Plan", "Prepared", "batches_per_step", "prepare", "remember_speed", "total_steps",
    "trained_layers", "trained_parts",
]  # fmt: skip
FIXED_SECONDS = 15.0
"""Start, caching and saving of a small set."""


@dataclass(frozen=True)
class Plan:
    """What a run will do.

    Attributes:
        preset: the settings that it starts from, if any.
        model: the base model in a few words.
        pictures: that are trained.
        reg_pictures: regularisation pictures.
        held_out: pictures that are measured and never trained.
        showings_per_epoch: pictures shown in the first epoch, repeats and regularisation counted.
        batches_per_epoch: of the first epoch.
        batches_per_step: over all processes.
        steps: optimizer steps.
        epochs: that they make.
        samples: pictures shown in the whole run.
        seen: how often each training picture is shown.
        regularisation: how the regularisation pictures are shown.
        buckets: pictures of each size.
        bucket_rows: the same with batches and what is cropped away.
        captions: their lengths.
        cached: latents that are in the cache already.
        parameters: trained numbers.
        rates: learning rate of each trained part.
        rate_chart: lines for people.
        file_bytes: of a LoRA file.
        saves: what will be written.
        judgings: of checkpoints while training.
        memory_mib: at the worst moment.
        memory: the same by what needs it while training, and what caching latents needs.
        seconds: that training takes.
        seconds_known: whether that comes from an earlier run on this machine, not from a guess.
        warnings: what is probably a mistake, a line each.
        notes: what is worth knowing, a line each.
        findings: what the rules found, as facts.
        method: what is special about the way it learns, rows of name and text.
    """

    preset: str
    model: str
    pictures: int
    reg_pictures: int
    held_out: int
    showings_per_epoch: int
    batches_per_epoch: int
    batches_per_step: int
    steps: int
    epochs: float
    samples: int
    seen: Seen
    regularisation: Coverage
    buckets: dict[str, int]
    bucket_rows: tuple[Bucket, ...]
    captions: Captions
    cached: Cached
    parameters: int
    rates: dict[str, float]
    rate_chart: tuple[str, ...]
    file_bytes: int
    saves: Saves
    judgings: Judgings
    memory_mib: float
    memory: dict[str, float]
    seconds: float
    seconds_known: bool
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    findings: tuple[Finding, ...]
    method: tuple[tuple[str, str], ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Returns the plan for events, reports and ``--json``."""
        return asdict(self)


@dataclass(frozen=True)
class Prepared:
    """A plan with the scanned pictures it was made from."""

    plan: Plan
    scan: folders.Scan
    order: Order
    summary: dict[str, Any]
    flops: float
    """Floating-point operations of one optimizer step."""
    footing: costs.Footing
    """What memory depends on besides the adapter."""
    model: ModelFacts
    """What the base model on disk is."""


def prepare(run: Run, base: Path) -> Prepared:
    """Scans the pictures and does the arithmetic; no model is loaded.

    Args:
        run: the run.
        base: folder that relative paths start from.

    Raises:
        UserError: anything that would stop the run later.
    """
    # what cannot be is refused before a picture is opened
    trained_parts(run)
    machine.check(run)
    foreign.check(run)
    prompts = read_prompts(run.sample, base)
    if run.erase.on:
        from renma.train import erase_plan  # it builds on this plan

        return erase_plan.prepare(run, base, base_model(run, base), prompts)
    datasets = folders.expand(run.data, base)
    for dataset in datasets:
        _check_sizes(dataset)
    model = base_model(run, base)
    scan = folders.scan(datasets, run.data)
    order = Order(scan.sets, run.train.seed)
    summary = summarise(scan, order)
    made = Made.of(run, base, scan, order, model)
    return made.prepared(prompts, rules.ALL, summary)


def _check_sizes(dataset: Dataset) -> None:
    """Refuses impossible sizes, and says which option they come from."""
    try:
        validate_sizes(dataset)
    except UserError as error:
        raise UserError(error.what, where=f"data.{error.where}", remedy=error.remedy) from None


def base_model(run: Run, base: Path) -> ModelFacts:
    """Returns what the base model is.

    Raises:
        UserError: it cannot be trained.
    """
    model = facts(run.model.place(base), run.model, base)
    if model.problem:
        raise UserError(model.problem, where=model.place)
    return model


@dataclass(frozen=True)
class Made:
    """The arithmetic of a plan.

    Args:
        run: the run.
        base: folder that relative paths start from.
        scan, order: its pictures and batches.
        model: the base model.
        chosen: the layers that are trained.
        footing: what memory depends on.
    """

    run: Run
    base: Path
    scan: folders.Scan
    order: Order
    model: ModelFacts
    chosen: Sequence[Choice]
    footing: costs.Footing

    @classmethod
    def of(cls, run: Run, base: Path, scan: folders.Scan, order: Order, model: ModelFacts) -> Self:
        """Returns the arithmetic of a run; arguments as of the class.

        Raises:
            UserError: a file to begin from does not fit, or the optimizer cannot do it.
        """
        slots = tuple(model.slots())
        chosen = trained_layers(run, run.adapter, slots, base)
        start_plan.check(run, base, slots)
        made = cls(run, base, scan, order, model, chosen, footing(run, model, order, slots))
        factors = {rate for _, _, rate in chosen}
        problems(run, made.parts, made.steps, factors, cpu=machine.on_processor(run)).refuse()
        return made

    def prepared(
        self, prompts: PromptList, looked_at: Iterable[Rule], summary: dict[str, Any]
    ) -> Prepared:
        """Returns the plan with what it was made from.

        Args:
            prompts: of the previews.
            looked_at: the rules that apply.
            summary: of the pictures.

        Raises:
            UserError: a rule finds an error.
        """
        run, drawn = self.run, prompts.prompts
        known = Facts(
            run, self.base, self.scan, self.order, self.model, self.chosen, self.parts, self.steps,
            self.seen, drawn, replace(self.saves, previews=len(drawn) * len(run.sample.weights)),
            self.tokens, self.gpu, self.judgings,
        )  # fmt: skip
        found = find(looked_at, known)
        told = (*prompts.notes, *self.scan.warnings, *summary.get("warnings", ()))
        plan, given = self.plan(known, told, found), (self.flops, self.footing, self.model)
        return Prepared(plan, self.scan, self.order, summary, *given)

    @cached_property
    def parts(self) -> tuple[str, ...]:
        """The model's parts that are trained."""
        return tuple(part for part in trained_parts(self.run) if part in self.model.parts)

    @cached_property
    def steps(self) -> int:
        """Optimizer steps."""
        return total_steps(self.run, self.order)

    @property
    def batches(self) -> int:
        """Batches of the whole run."""
        return self.steps * batches_per_step(self.run)

    @cached_property
    def seen(self) -> Seen:
        """How often pictures are shown."""
        return seen(self.order, self.batches)

    @cached_property
    def tokens(self) -> Tokens:
        """Counts tokens."""
        return Tokens(self.run, self.model)

    @property
    def gpu(self) -> bool:
        """Whether it computes on a GPU."""
        return self.footing.gpu

    @cached_property
    def size(self) -> tuple[int, int]:
        """Trained numbers, and bytes of a file."""
        run = self.run
        if run.start.ranks_from_file:
            count = start_plan.trained_numbers(run, self.base, self.parts)
            return count, count * (4 if run.output.precision == "fp32" else 2)
        count = sum(arithmetic.numbers(slot, own) for slot, own, _ in self.chosen)
        stored = relora_plan.enlarged(self.chosen, run, self.steps)
        return count, arithmetic.file_bytes(stored, run.output.precision)

    @cached_property
    def memory(self) -> costs.Memory:
        """Memory of training."""
        return costs.memory(self.chosen, self.footing)

    @cached_property
    def saves(self) -> Saves:
        """What will be written."""
        state = round((self.memory.adapter + self.memory.state) * 2**20)
        state += relora_plan.past_bytes(self.chosen, self.run, self.steps)
        return saves(self.run, self.order, self.steps, self.base, (self.size[1], state))

    @property
    def buckets(self) -> tuple[Bucket, ...]:
        """The sizes of the pictures."""
        return buckets(self.order)

    @cached_property
    def caching_mib(self) -> float:
        """What encoding the largest pictures ahead needs."""
        at_once = self.run.data.vae_batch_size if self.gpu else 1
        largest = max(fit.width * fit.height for fits in self.order.fits for fit in fits)
        vae = self.model.shapes["vae"]
        return self.memory.runtime + costs.caching_bytes(vae, at_once * largest) / 2**20

    @cached_property
    def flops(self) -> float:
        """Operations of one optimizer step."""
        batches = self.order.epoch(0)
        pixels = sum(len(b.showings) * b.size[0] * b.size[1] for b in batches)
        passes = 3 if self.run.train.gradient_checkpointing else 2
        return self.forward_flops(pixels / len(batches)) * passes * batches_per_step(self.run)

    def forward_flops(self, pixels: float) -> float:
        """Operations of one pass through the U-Net for so many pixels."""
        once = costs.forward_flops(self.model.shapes["unet"], 1000) / 1000
        return once * pixels / self.model.latent_factor**2

    @property
    def judgings(self) -> Judgings:
        """Judgings while training; the pictures are of the model's own size, with guidance."""
        flops = self.forward_flops(self.model.native_size**2) * 2 * self.run.sample.steps
        rate, _ = speed(self.run.train.precision)
        training = self.steps * self.flops / rate
        return judgings(self.run, self.saves, self.scan, flops / rate, training)

    def plan(self, known: Facts, told: Sequence[str], found: Sequence[Finding]) -> Plan:
        """Returns the plan.

        Args:
            known: what rules looked at.
            told: warnings besides theirs.
            found: what they found.
        """
        run, order, batches = self.run, self.order, self.order.epoch(0)
        rate, measured = speed(run.train.precision)
        rows = self.buckets
        rates = {part: run.optimizer.rate(part) for part in self.parts}
        memory = {**vars(self.memory), "caching_latents": self.caching_mib}
        cycles = relora_plan.memory_bytes(self.chosen, run, self.steps, gpu=self.gpu) / 2**20
        memory |= {"cycles": cycles} if cycles else {}
        shown = sum(len(b.showings) for b in batches)
        lines = {level: tuple(f.line() for f in found if f.level == level) for level in _LEVELS}
        return Plan(
            preset=run.preset,
            model=words(self.model, run),
            pictures=len(known.trained),
            reg_pictures=len(known.reg),
            held_out=sum(len(scanned.held_out) for scanned in self.scan.sets),
            showings_per_epoch=shown,
            batches_per_epoch=order.batches_per_epoch,
            batches_per_step=batches_per_step(run),
            steps=self.steps,
            epochs=round(self.batches / order.batches_per_epoch, 2),
            samples=round(self.batches * shown / len(batches)),
            seen=self.seen,
            regularisation=coverage(order, self.batches) if known.reg else Coverage(0, 0, 0, 0),
            buckets={row.size: row.pictures for row in rows},
            bucket_rows=rows,
            captions=captions((*known.trained, *known.reg), self.tokens, count=False),
            cached=cached(order, self.model, gpu=self.gpu),
            parameters=self.size[0],
            rates=rates,
            rate_chart=tuple(rate_chart.lines(run, self.steps, list(rates.items()))),
            file_bytes=self.size[1],
            saves=known.saves,
            judgings=known.judgings,
            memory_mib=round(max(self.memory.total + cycles, self.caching_mib)),
            memory={name: round(mib, 1) for name, mib in memory.items()},
            seconds=round(FIXED_SECONDS + self.steps * self.flops / rate),
            seconds_known=measured,
            warnings=(*told, *lines["warning"]),
            notes=lines["note"],
            findings=tuple(found),
            method=tuple(self.method(known)),
        )

    def method(self, known: Facts) -> list[tuple[str, str]]:
        """Returns what is said about the method, for people."""
        seconds = self.flops / speed(self.run.train.precision)[0]
        return [
            *relora_plan.method_rows(self.run, self.steps),
            *copier_stage.method_rows(self.run, len(known.trained), seconds),
        ]


_LEVELS = ("warning", "note")
_NAMES = {"sd1": "SD 1.x", "sd2": "SD 2.x", "sdxl": "SDXL"}


def words(model: ModelFacts, run: Run) -> str:
    """Returns the base model in a few words."""
    predicts = "v-prediction" if model.is_v else "noise prediction"
    few = "" if run.model.quantize == "none" else f", U-Net in {run.model.quantize}"
    return f"{run.model.path} ({_NAMES[model.family]}, {predicts}, {run.train.precision}{few})"
