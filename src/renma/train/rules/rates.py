"""Rules about learning rates, schedules and the objective."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

from renma.config.objective_rules import (
    NOT_FROM_PURE_NOISE,
    objective_problems,
    pure_noise_problem,
)
from renma.config.optimizer_rules import problems
from renma.config.sample import Sampler
from renma.train.rules._base import Facts, Rule, Said


def _optimizer(facts: Facts) -> Iterator[Said]:
    rates = {rate for _, _, rate in facts.chosen}
    for text in problems(facts.run, facts.parts, facts.steps, rates).warnings:
        yield Said(text)


def _eager_text_encoder(facts: Facts) -> Iterator[Said]:
    optimizer, parts = facts.run.optimizer, facts.parts
    both = "unet" in parts and "text_encoder" in parts
    if facts.is_toy or not both or optimizer.traits.own_schedule == "relative_step":
        return
    unet, text = optimizer.rate("unet"), optimizer.rate("text_encoder")
    if text > unet:
        yield Said(
            f"the text encoder's learning rate ({text:g}) is above the U-Net's ({unet:g})",
            "Half of the U-Net's or less is usual.",
            "optimizer.text_encoder_lr",
        )


def _objective_errors(facts: Facts) -> Iterator[Said]:
    errors, _ = objective_problems(facts.run.objective, facts.model.prediction or "epsilon")
    for problem in errors:
        yield Said(problem.what.removeprefix("= "), problem.remedy, problem.where)


def _objective(facts: Facts) -> Iterator[Said]:
    _, warnings = objective_problems(facts.run.objective, facts.model.prediction or "epsilon")
    for problem in warnings:
        yield Said(f"{problem.where} {problem.what}", problem.remedy, problem.where)


def _pure_noise(facts: Facts) -> Iterator[Said]:
    zero = facts.run.objective.zero_terminal_snr
    if zero is None:
        zero = bool(facts.model.scheduler.get("rescale_betas_zero_snr"))
    for sampler in dict.fromkeys(p.sampler for p in facts.prompts):
        if zero and sampler in NOT_FROM_PURE_NOISE:
            problem = pure_noise_problem(sampler, get_args(Sampler))
            yield Said(f"{problem.where} {problem.what}", problem.remedy, "sample.sampler")


def _prior(facts: Facts) -> Iterator[Said]:
    objective = facts.run.objective
    if facts.reg:
        return
    if objective.prior_loss_weight != 1:
        yield Said(
            "objective.prior_loss_weight has no effect: there are no regularisation pictures",
            "Set data.reg_folder, or leave it out.",
            "objective.prior_loss_weight",
        )
    if objective.prior_preservation:
        yield Said(
            "objective.prior_preservation has no effect: there are no regularisation pictures",
            "Set data.reg_folder, or leave it out.",
            "objective.prior_preservation",
        )


RULES = (
    Rule(
        "rates-and-schedule",
        "warning",
        "Learning rates, schedule and optimizer that do not suit each other.",
        "Some optimizers want a rate near 1, no schedule, or no warm-up; others diverge with that.",
        _optimizer,
    ),
    Rule(
        "eager-text-encoder",
        "warning",
        "A text encoder that learns faster than the U-Net.",
        "It overfits first: prompts then mean what the pictures show, whatever else they say.",
        _eager_text_encoder,
    ),
    Rule(
        "objective-impossible",
        "error",
        "Options of [objective] that contradict each other or the model.",
        "The loss would not mean what the options say.",
        _objective_errors,
    ),
    Rule(
        "objective",
        "warning",
        "Options of [objective] without effect, or on top of each other.",
        "Two remedies for the same thing overdo it.",
        _objective,
    ),
    Rule(
        "pure-noise-sampler",
        "error",
        "Preview samplers that cannot start from pure noise.",
        "With zero terminal SNR the first step begins at infinite noise.",
        _pure_noise,
    ),
    Rule(
        "prior-idle",
        "warning",
        "Options for regularisation pictures without any.",
        "They change nothing.",
        _prior,
    ),
)
