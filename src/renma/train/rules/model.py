"""Rules about the base model and how it computes."""

from __future__ import annotations

import os
from collections.abc import Iterator

from renma.core.counted import counted
from renma.formats.model_facts import notes
from renma.train.given import given
from renma.train.rules._base import Facts, Rule, Said

_SMALL_BATCH = 256 * 256


def _idle_options(facts: Facts) -> Iterator[Said]:
    yield from map(Said, notes(facts.model, facts.run.model))


def _slow_half(facts: Facts) -> Iterator[Said]:
    if facts.run.train.precision == "fp16" and not facts.gpu:
        yield Said(
            "train.precision = 'fp16' is slow on a processor",
            "Use 'auto': bf16 where the processor computes in it, else fp32.",
            "train.precision",
        )


def _needless_checkpointing(facts: Facts) -> Iterator[Said]:
    train = facts.run.train
    largest = max(b.size[0] * b.size[1] * len(b.showings) for b in facts.order.epoch(0))
    if train.gradient_checkpointing and facts.is_toy and largest <= _SMALL_BATCH:
        yield Said(
            "train.gradient_checkpointing saves next to nothing on a model this small",
            "Leave it out: a step is a third faster.",
            "train.gradient_checkpointing",
        )


def _quantised_toy(facts: Facts) -> Iterator[Said]:
    if facts.run.model.quantize != "none" and facts.is_toy:
        yield Said(
            f"model.quantize = '{facts.run.model.quantize}' saves next to nothing on a model this "
            "small",
            "Leave it out.",
            "model.quantize",
        )


def _quantised_merge(facts: Facts) -> Iterator[Said]:
    few = facts.run.model.quantize
    if few != "none" and facts.run.start.base_weights:
        yield Said(
            f"start.base_weights are merged into weights that model.quantize = '{few}' keeps in "
            "few bits, which loses their finer part",
            "Merge them into a file first (`renma file merge`), and train on that.",
            "start.base_weights",
        )


def _idle_batch(facts: Facts) -> Iterator[Said]:
    run = facts.run
    if run.train.device == "cpu" and "vae_batch_size" in given(run.data):
        yield Said(
            "data.vae_batch_size has no effect: a processor encodes one picture at a time",
            "Leave it out.",
            "data.vae_batch_size",
        )


def _skipped_layers(facts: Facts) -> Iterator[Said]:
    family, skip = facts.model.family, facts.run.model.clip_skip
    if family == "sd1" and skip > 2:
        yield Said(
            f"model.clip_skip = {skip} is unusual",
            "1 is the model's own, 2 that of many anime models.",
            "model.clip_skip",
        )


def _more_threads_than_cores(facts: Facts) -> Iterator[Said]:
    threads, cores = facts.run.train.threads, os.cpu_count() or 0
    if threads > cores > 0:
        yield Said(
            f"train.threads = {threads} is more than the {counted(cores, 'core')} of this machine",
            f"Set train.threads = {cores}, or 0 for all there are.",
            "train.threads",
        )


RULES = (
    Rule(
        "model-options",
        "warning",
        "Options of [model] that have no effect on this model, or contradict its files.",
        "SDXL has a fixed layer for its text, and files often say what they predict.",
        _idle_options,
    ),
    Rule(
        "slow-half",
        "warning",
        "fp16 without a GPU.",
        "Processors convert every number there and back.",
        _slow_half,
    ),
    Rule(
        "needless-checkpointing",
        "note",
        "Gradient checkpointing on a model for trying out.",
        "It computes everything twice to save memory that is not short.",
        _needless_checkpointing,
    ),
    Rule(
        "quantised-toy",
        "note",
        "Quantising a model for trying out.",
        "It is slower and less exact, for memory that is not short.",
        _quantised_toy,
    ),
    Rule(
        "quantised-merge",
        "warning",
        "LoRAs merged into a base model in few bits.",
        "A merged weight has to be rounded to few bits again.",
        _quantised_merge,
    ),
    Rule(
        "vae-batch-idle",
        "warning",
        "vae_batch_size without a GPU.",
        "Processors take one picture at a time, so that equal runs are equal to the last bit.",
        _idle_batch,
    ),
    Rule(
        "more-threads-than-cores",
        "warning",
        "More threads than the processor has cores.",
        "They wait for one another, and a step takes longer.",
        _more_threads_than_cores,
    ),
    Rule(
        "clip-skip",
        "note",
        "clip_skip above 2 on SD 1.x.",
        "The layers further down were not made for pictures, and other programs offer 1 and 2.",
        _skipped_layers,
    ),
)
