"""Rules about [relora], and about the schedule that belongs to it."""

from __future__ import annotations

from collections.abc import Iterator

from renma.config.adapter import Lora, LoraFA
from renma.config.relora import MOMENTS
from renma.config.schedule import CosineWithRestarts, JaggedCosine
from renma.core.counted import counted, idle
from renma.train import relora_plan
from renma.train.given import given
from renma.train.rules._base import Facts, Rule, Said

_EVERY = "relora.every_steps"
_LOSSY = {"fp16", "bf16"}


def _impossible(facts: Facts) -> Iterator[Said]:
    adapter = facts.run.adapter
    if not facts.run.relora.every_steps:
        return
    if not isinstance(adapter, Lora | LoraFA):
        why = (
            "its ranks are ordered, and cycles side by side are not: the file could not be cut"
            if adapter.algorithm == "dylora"
            else "only LoRA and LoRA-FA add up to a LoRA whose rank grows with the cycles"
        )
        yield Said(f"ReLoRA cannot train adapter.algo = '{adapter.algorithm}': {why}",
                   "Set adapter.algo = 'lora'.", "adapter.algo")  # fmt: skip
        return
    if adapter.dora != "off":
        yield Said(
            "ReLoRA cannot merge DoRA: its magnitudes belong to the weight before the merge",
            "Set adapter.dora = 'off'.",
            "adapter.dora",
        )
    if isinstance(adapter, Lora) and adapter.start in {"pissa", "olora"}:
        yield Said(
            f"adapter.start = '{adapter.start}' begins with a part of the weight, ReLoRA's cycles "
            "with nothing",
            "Set adapter.start = 'kaiming'.",
            "adapter.start",
        )
    if isinstance(adapter, Lora) and adapter.min_timestep_rank is not None:
        yield Said(
            "T-LoRA uses fewer ranks where there is more noise; merged, all of them act everywhere",
            "Leave adapter.min_timestep_rank out.",
            "adapter.min_timestep_rank",
        )


def _no_moments(facts: Facts) -> Iterator[Said]:
    run = facts.run
    thinned = run.relora.every_steps and run.relora.reset == "magnitude"
    if thinned and run.optimizer.name not in MOMENTS:
        yield Said(
            f"relora.reset = 'magnitude' keeps a part of the moments, and {run.optimizer.name} "
            "remembers other things too",
            "Set relora.reset = 'all', or optimizer.name = 'adamw'.",
            "relora.reset",
        )


def _idle(facts: Facts) -> Iterator[Said]:
    run, config = facts.run, facts.run.relora
    dead = sorted(given(config) - {"every_steps"})
    if not config.every_steps:
        if dead:
            yield Said(f"relora.{idle(dead)}: relora.every_steps is 0",
                       "Set relora.every_steps, or leave it out.", f"relora.{dead[0]}")  # fmt: skip
        if isinstance(run.schedule, JaggedCosine):
            yield Said(
                "schedule.name = 'jagged_cosine' lets the rate rise again for merges that do not "
                "come: relora.every_steps is 0",
                "Set it, or schedule.name = 'cosine'.",
                "schedule.name",
            )
        return
    if not config.merges(facts.steps):
        yield Said(
            f"relora.every_steps = {config.every_steps} has no effect: the run has "
            f"{counted(facts.steps, 'step')}, one cycle",
            f"Set relora.every_steps = {max(1, facts.steps // 4)}.",
            _EVERY,
        )
    if "keep" in dead and config.reset == "all":
        yield Said("relora.keep has no effect: relora.reset is 'all'", "", "relora.keep")


def _cycles(facts: Facts) -> Iterator[Said]:
    run, config = facts.run, facts.run.relora
    if not config.merges(facts.steps):
        return
    rest = facts.steps % config.every_steps
    if rest and rest < config.every_steps / 2:
        yield Said(
            f"relora: the last cycle has only {counted(rest, 'step')}, the others "
            f"{config.every_steps}",
            f"Set train.max_steps to a multiple of {config.every_steps}.",
            _EVERY,
        )
    schedule, own = run.schedule, run.optimizer.traits.own_schedule
    if not isinstance(schedule, JaggedCosine):
        if not own and not isinstance(schedule, CosineWithRestarts):
            yield Said(
                f"relora: the schedule '{schedule.name}' does not let the rate rise anew after a "
                "merge, and the optimizer's first steps know nothing yet",
                f"Use schedule.name = 'jagged_cosine' with cycle_steps = {config.every_steps}.",
                "schedule.name",
            )
        return
    if schedule.cycle_steps != config.every_steps:
        yield Said(
            f"schedule.cycle_steps = {schedule.cycle_steps} and relora.every_steps = "
            f"{config.every_steps} differ: the rate does not rise where cycles begin",
            f"Set schedule.cycle_steps = {config.every_steps}.",
            "schedule.cycle_steps",
        )
    longest = max(schedule.restart_warmup_steps, schedule.warmup(facts.steps))
    if longest >= schedule.cycle_steps:
        yield Said(
            f"schedule: a rise of {counted(longest, 'step')} takes all of a cycle of "
            f"{schedule.cycle_steps}",
            "A tenth of it is usual.",
            "schedule.restart_warmup_steps",
        )


def _file_rank(facts: Facts) -> Iterator[Said]:
    run, wanted = facts.run, facts.run.relora.file_rank
    rank = getattr(run.adapter, "rank", 0)
    if not wanted or not rank or not run.relora.merges(facts.steps):
        return
    most = rank * relora_plan.cycles(run, facts.steps)
    if wanted < most and run.relora.merged:
        yield Said(
            f"relora.merged merges the file, which relora.file_rank = {wanted} cuts: the model "
            "loses as much of the cycles as the file does",
            "Leave relora.file_rank out, and shorten the file afterwards: renma file resize.",
            "relora.merged",
        )
    if wanted >= most:
        yield Said(f"relora.file_rank = {wanted} has no effect: all cycles together have {most}",
                   "Leave it out.", "relora.file_rank")  # fmt: skip
    elif wanted <= rank:
        yield Said(
            f"relora.file_rank = {wanted} cuts the file to what a single cycle has ({rank}): what "
            "the cycles gained is lost",
            f"Set it between {rank} and {most}, or leave it out.",
            "relora.file_rank",
        )


def _forgotten(facts: Facts) -> Iterator[Said]:
    run = facts.run
    if not run.relora.merges(facts.steps):
        return
    if run.optimizer.traits.finds_rate:
        yield Said(
            f"relora: {run.optimizer.name} forgets the step size it found at every merge and "
            "searches anew",
            "Use optimizer.name = 'adamw', or long cycles.",
            "optimizer.name",
        )
    if getattr(run.adapter, "max_norm", 0):
        yield Said(
            "adapter.max_norm holds for each cycle alone, not for their sum",
            "relora.rate_factor below 1 makes later cycles smaller.",
            "adapter.max_norm",
        )
    few = run.model.quantize != "none" or run.train.precision in _LOSSY
    if run.relora.where == "weights" and few:
        held = run.train.precision if run.model.quantize == "none" else run.model.quantize
        yield Said(
            f"relora.where = 'weights' stores the merged cycles in {held}, which loses what is "
            "small; the file, which has it, then differs from what was trained",
            "Leave it out: beside the weights nothing is lost.",
            "relora.where",
        )


RULES = (
    Rule(
        "relora-impossible",
        "error",
        "Adapters that ReLoRA cannot merge and begin again.",
        "The merge must not change the model, and the sum of all cycles must be a LoRA.",
        _impossible,
    ),
    Rule(
        "relora-no-moments",
        "error",
        "A part of the optimizer's memory to keep, where it is not moments.",
        "Estimates of a step size, averages of weights and factored moments cannot be thinned out.",
        _no_moments,
    ),
    Rule(
        "relora-idle",
        "warning",
        "Options of [relora] and its schedule that change nothing.",
        "A merge comes only where another cycle follows.",
        _idle,
    ),
    Rule(
        "relora-cycles",
        "warning",
        "Cycles and schedule that do not fit together.",
        "After a merge everything is new: a full rate in the first steps throws it off.",
        _cycles,
    ),
    Rule(
        "relora-file-rank",
        "warning",
        "A rank of the file that is more than all cycles have, or no more than one has.",
        "The cycles are trained for the rank that they reach together.",
        _file_rank,
    ),
    Rule(
        "relora-forgets",
        "warning",
        "What does not outlast a merge.",
        "Every cycle begins with a fresh adapter and a fresh optimizer.",
        _forgotten,
    ),
)
