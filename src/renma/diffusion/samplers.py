"""Samplers by the names that trainers and web UIs use; all are schedulers of diffusers.

A name of the guide (``k_euler_a``, ``dpmsolver++``) is one row of facts here.
"""

from __future__ import annotations

import importlib
import inspect
import warnings
from collections.abc import Mapping
from typing import Any

from renma.config.objective_rules import NOT_FROM_PURE_NOISE, pure_noise_problem
from renma.core.errors import UserError, did_you_mean
from renma.diffusion.schedule import NoiseSchedule

_SOLVER = "dpmsolver_multistep", "DPMSolverMultistepScheduler"
ROWS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "ddim": ("ddim", "DDIMScheduler", {}),
    "pndm": ("pndm", "PNDMScheduler", {"skip_prk_steps": True}),
    "heun": ("heun_discrete", "HeunDiscreteScheduler", {}),
    "dpmsolver": (*_SOLVER, {"algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min"}),
    "dpmsolver++": (*_SOLVER, {"algorithm_type": "dpmsolver++"}),
    "dpmsingle": ("dpmsolver_singlestep", "DPMSolverSinglestepScheduler", {}),
    "lms": ("lms_discrete", "LMSDiscreteScheduler", {}),
    "euler": ("euler_discrete", "EulerDiscreteScheduler", {}),
    "euler_a": ("euler_ancestral_discrete", "EulerAncestralDiscreteScheduler", {}),
    "dpm_2": ("k_dpm_2_discrete", "KDPM2DiscreteScheduler", {}),
    "dpm_2_a": ("k_dpm_2_ancestral_discrete", "KDPM2AncestralDiscreteScheduler", {}),
}
ALIASES = {f"k_{name}": name for name in ("lms", "euler", "euler_a", "dpm_2", "dpm_2_a")}
"""``k_`` names are the same samplers under their k-diffusion names."""

SHARED = (
    "num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "prediction_type",
    "timestep_spacing", "steps_offset", "clip_sample", "set_alpha_to_one", "trained_betas",
    "rescale_betas_zero_snr",
)  # fmt: skip
"""What a scheduler takes over from the model's own, where it has such an option."""

_ALMOST_NOTHING = 2.0**-24
"""abar that stands for 0 where a sampler divides by it; diffusers has the same in its own."""


def build(name: str, model_config: Mapping[str, Any]) -> Any:
    """Returns a fresh diffusers scheduler for a noise schedule.

    Args:
        name: a name of :data:`ROWS` or :data:`ALIASES`.
        model_config: what :meth:`NoiseSchedule.sampler_config` returned, or the
            ``scheduler_config.json`` that lies with the model.

    Raises:
        UserError: unknown name, or a sampler that cannot begin at pure noise.
    """
    own = ALIASES.get(name, name)
    row = ROWS.get(own)
    if row is None:
        every = [*ROWS, *ALIASES]
        raise UserError(
            f"'{name}' is not a sampler",
            remedy=did_you_mean(name, every) or f"Known: {', '.join(every)}.",
        )
    from_pure_noise = bool(model_config.get("rescale_betas_zero_snr"))
    if from_pure_noise and own in NOT_FROM_PURE_NOISE:
        problem = pure_noise_problem(name, [*ROWS])
        raise UserError(problem.what, where=problem.where, remedy=problem.remedy)
    module, class_name, options = row
    kind = getattr(importlib.import_module(f"diffusers.schedulers.scheduling_{module}"), class_name)
    known = inspect.signature(kind).parameters
    shared = {key: model_config[key] for key in SHARED if key in model_config and key in known}
    if from_pure_noise and "rescale_betas_zero_snr" not in known:
        shared["trained_betas"] = _all_but_pure(model_config)
    with warnings.catch_warnings():
        # diffusers means to drop plain dpmsolver one day; our version range still has it
        warnings.filterwarnings("ignore", "`algorithm_types dpmsolver", FutureWarning)
        return kind(**shared, **options)


def _all_but_pure(model_config: Mapping[str, Any]) -> list[float]:
    """Returns the betas of a zero-terminal schedule with a last abar that can be divided by."""
    schedule = NoiseSchedule.of(model_config)
    before = float(schedule.alphas_cumprod[-2])
    return [*schedule.betas[:-1].tolist(), 1 - _ALMOST_NOTHING / before]
