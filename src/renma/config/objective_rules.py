"""What in [objective] contradicts itself or the model, and what has no effect."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from renma.config.objective import ObjectiveConfig

NOT_FROM_PURE_NOISE = ("heun",)
"""Samplers that take the mean of the slopes at both ends of a step.

From a zero-terminal schedule the first step begins at (all but) infinite noise. Its length
multiplies whatever the two answers of the model differ by, and the picture drifts.
"""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with the options.

    Attributes:
        where: the option in run.toml.
        what: what is wrong with it.
        remedy: what to do.
    """

    where: str
    what: str
    remedy: str

    def line(self) -> str:
        """Returns the whole message on one line."""
        return f"{self.where} {self.what}. {self.remedy}"


def objective_problems(
    config: ObjectiveConfig, prediction: str
) -> tuple[tuple[Problem, ...], tuple[Problem, ...]]:
    """Returns what must stop a run, and what is worth a warning.

    Args:
        config: the section.
        prediction: what the model predicts, ``epsilon`` or ``v_prediction``.
    """
    warnings = (*_noise(config), *_bend(config), *_weights(config), *_end(config))
    return tuple(_errors(config, prediction)), warnings


def pure_noise_problem(sampler: str, known: Iterable[str]) -> Problem:
    """Returns why a sampler of :data:`NOT_FROM_PURE_NOISE` cannot draw with zero terminal SNR.

    Args:
        sampler: its name.
        known: all names.
    """
    others = [name for name in known if name not in NOT_FROM_PURE_NOISE]
    return Problem(
        f"the sampler '{sampler}'",
        "averages the slopes at both ends of each step, which a noise schedule that ends in pure "
        "noise (zero terminal SNR) does not allow",
        f"Use one of {', '.join(others)}.",
    )


def _errors(config: ObjectiveConfig, prediction: str) -> Iterator[Problem]:
    if config.min_timestep >= config.max_timestep:
        yield Problem(
            "objective.min_timestep",
            f"= {config.min_timestep} leaves no timestep below max_timestep = "
            f"{config.max_timestep}",
            "Make it smaller than max_timestep.",
        )
    velocity = prediction == "v_prediction"
    if config.zero_terminal_snr and not velocity:
        yield Problem(
            "objective.zero_terminal_snr",
            "needs a v-prediction model: from pure noise a noise prediction model learns nothing",
            "Leave it out, or train on a v-prediction model.",
        )
    if config.scale_v_pred_loss_like_noise_pred and not velocity:
        yield Problem(
            "objective.scale_v_pred_loss_like_noise_pred",
            "is for v-prediction models; this model predicts the noise",
            "Leave it out.",
        )
    if config.v_pred_like_loss and velocity:
        yield Problem(
            "objective.v_pred_like_loss",
            "is for models that predict the noise; this one predicts the velocity",
            "Leave it out.",
        )


def _noise(config: ObjectiveConfig) -> Iterator[Problem]:
    yield from _idle(
        config,
        "noise_offset = 0",
        not config.noise_offset,
        "noise_offset_random_strength",
        "adaptive_noise_scale",
    )
    layers = config.multires_noise_iterations
    yield from _idle(config, "multires_noise_iterations = 0", not layers, "multires_noise_discount")
    yield from _idle(
        config, "ip_noise_gamma = 0", not config.ip_noise_gamma, "ip_noise_gamma_random_strength"
    )
    if config.noise_offset and layers:
        yield Problem(
            "objective.noise_offset",
            "and multires_noise_iterations both make the noise coarser, and multires noise "
            "scales the offset with it",
            "Use one of them.",
        )


def _bend(config: ObjectiveConfig) -> Iterator[Problem]:
    bent = config.loss in ("huber", "smooth_l1")
    options = ("huber_schedule", "huber_c", "huber_scale")
    yield from _idle(config, f"loss = '{config.loss}'", not bent, *options)
    if bent:
        own = config.huber_schedule == "snr"
        yield from _idle(config, "huber_schedule = 'snr'", own, "huber_scale")


def _weights(config: ObjectiveConfig) -> Iterator[Problem]:
    options = ("min_snr_gamma", "debiased_estimation", "scale_v_pred_loss_like_noise_pred")
    first, *others = [name for name in options if getattr(config, name)] or [""]
    if others:
        yield Problem(
            f"objective.{first}",
            f"and {' and '.join(others)} all weigh the timesteps; the weights multiply",
            "Use one of them.",
        )
    if config.prior_preservation and not config.prior_loss_weight:
        yield Problem(
            "objective.prior_preservation",
            "has no effect with prior_loss_weight = 0",
            "Give regularisation pictures a weight, or leave it out.",
        )


def _end(config: ObjectiveConfig) -> Iterator[Problem]:
    longest = ObjectiveConfig.model_fields["max_timestep"].default
    if config.zero_terminal_snr and config.max_timestep < longest:
        yield Problem(
            "objective.zero_terminal_snr",
            f"changes the last timestep, which max_timestep = {config.max_timestep} leaves out",
            "Leave max_timestep out.",
        )


def _idle(config: ObjectiveConfig, because: str, is_idle: bool, *names: str) -> Iterator[Problem]:
    """Yields a warning for each option that was changed and does nothing."""
    fields = ObjectiveConfig.model_fields
    for name in names:
        if is_idle and getattr(config, name) != fields[name].default:
            yield Problem(
                f"objective.{name}",
                f"has no effect with {because}",
                "Change that, or leave it out.",
            )
