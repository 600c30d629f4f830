"""Rules about the rest of a run with [erase]: what it cannot do, and what does nothing there."""

from __future__ import annotations

import math
from collections.abc import Iterator

from renma.core.counted import counted, idle
from renma.train.given import given
from renma.train.rules._base import Facts, Rule, Said

_FEW = 50
_EAGER = 5e-4
_OF_EPOCHS = ("save_every_epochs", "validate_every_epochs")
_OF_PICTURES = ("validate_every_steps", "max_validation_batches")


def _half(facts: Facts) -> Iterator[Said]:
    if facts.run.erase.on and facts.run.train.precision == "fp16":
        yield Said(
            "[erase] does not train in fp16: every step draws an unfinished picture anew and "
            "compares answers that hardly differ; in fp16's narrow range the one overflows and "
            "the gradients of the other vanish",
            "Use train.precision = 'bf16' or 'fp32'.",
            "train.precision",
        )


def _text_encoder(facts: Facts) -> Iterator[Said]:
    trained = [part for part in facts.parts if part != "unet"]
    if facts.run.erase.on and trained:
        yield Said(
            "[erase] trains the U-Net alone: the frozen answers to the words are its goal",
            "Set train.text_encoder = false.",
            "train.text_encoder",
        )


def _other_methods(facts: Facts) -> Iterator[Said]:
    run = facts.run
    others = {"[relora]": run.relora.every_steps > 0, "[copier]": bool(run.copier.train_folder)}
    for name, on in others.items():
        if run.erase.on and on:
            yield Said(
                f"[erase] and {name} cannot be in one run",
                "Train one after the other: start.base_weights merges the first one's LoRA.",
            )


def _judged(facts: Facts) -> Iterator[Said]:
    if facts.run.erase.on and facts.run.stop.every_checkpoints:
        yield Said(
            "[stop] judges checkpoints by the pictures that are trained, and [erase] has none",
            "Leave [stop] out, and look at the previews.",
            "stop.every_checkpoints",
        )


def _epochs(facts: Facts) -> Iterator[Said]:
    if facts.run.erase.on and facts.run.train.max_epochs is not None:
        yield Said(
            "there are no epochs without pictures",
            "Give train.max_steps instead.",
            "train.max_epochs",
        )


def _rate(facts: Facts) -> Iterator[Said]:
    optimizer = facts.run.optimizer
    if not facts.run.erase.on or facts.is_toy or optimizer.traits.finds_rate:
        return
    rate = optimizer.rate("unet")
    if rate > _EAGER:
        yield Said(
            f"a learning rate of {rate:g} changes more than the concept",
            "1e-4 is usual; 5e-4 is much.",
            "optimizer.learning_rate",
        )


def _few_steps(facts: Facts) -> Iterator[Said]:
    concepts = len(facts.run.erase.prompts)
    if facts.run.erase.on and not facts.is_toy and facts.steps < _FEW * math.sqrt(concepts):
        yield Said(
            f"{counted(facts.steps, 'step')} for {counted(concepts, 'concept')}",
            "Some 200 to 1,000 are usual.",
            "train.max_steps",
        )


def _idle(facts: Facts) -> Iterator[Said]:
    run = facts.run
    if not run.erase.on:
        return
    if given(run.data):
        yield Said("[data] has no effect: [erase] learns from words alone", "Leave it out.")
    if dead := sorted(given(run.objective) - {"zero_terminal_snr"}):
        yield Said(
            f"objective.{idle(dead)}: [erase] has a loss of its own",
            "Leave them out." if len(dead) > 1 else "Leave it out.",
            f"objective.{dead[0]}",
        )
    if dead := [name for name in (*_OF_EPOCHS, *_OF_PICTURES) if name in given(run.train)]:
        of_epochs = dead[0] in _OF_EPOCHS
        yield Said(
            f"train.{idle(dead)}: without pictures there are no "
            f"{'epochs' if of_epochs else 'held-out pictures'}",
            "Use train.save_every_steps." if of_epochs else "Leave it out.",
            f"train.{dead[0]}",
        )
    if run.sample.every_epochs:
        yield Said(
            "sample.every_epochs has no effect: without pictures there are no epochs",
            "Use sample.every_steps.",
            "sample.every_epochs",
        )


RULES = (
    Rule(
        "erase-in-half",
        "error",
        "Erasing in fp16.",
        "Numbers beyond 65,504 overflow while pictures are drawn, and gradients below 6e-8 are 0: "
        "what is learnt is the difference between nearly equal answers.",
        _half,
    ),
    Rule(
        "erase-text-encoder",
        "error",
        "Erasing with a text encoder that is trained.",
        "The goal is made of the frozen model's answers to the same texts.",
        _text_encoder,
    ),
    Rule(
        "erase-beside-others",
        "error",
        "Erasing together with ReLoRA or a copy-machine LoRA.",
        "The frozen model is what the goal is made of; those change it.",
        _other_methods,
    ),
    Rule(
        "erase-judged",
        "error",
        "Judging while a run erases.",
        "Likeness is measured against training pictures.",
        _judged,
    ),
    Rule(
        "erase-epochs",
        "error",
        "Epochs in a run without pictures.",
        "An epoch is one round through all pictures.",
        _epochs,
    ),
    Rule(
        "erase-rate",
        "warning",
        "A high learning rate.",
        "There are no pictures that hold the rest of the model in its place.",
        _rate,
    ),
    Rule(
        "erase-few-steps",
        "note",
        "Very few steps.",
        "A concept that is half erased comes back at other seeds.",
        _few_steps,
    ),
    Rule(
        "erase-idle",
        "warning",
        "Options for pictures and epochs in a run without them.",
        "They change nothing.",
        _idle,
    ),
)
