"""Samplers by the names that trainers and web UIs use; all are schedulers of diffusers.

A name of the guide (``k_euler_a``, ``dpmsolver++``) is one row of facts here.
"""

from __future__ import annotations

import importlib
import inspect
import warnings
from typing import Any

from renma.core.errors import UserError, did_you_mean

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
    "timestep_spacing", "steps_offset", "clip_sample", "set_alpha_to_one",
)  # fmt: skip
"""What a scheduler takes over from the model's own, where it has such an option."""


def build(name: str, model_config: dict[str, Any]) -> Any:
    """Returns a fresh diffusers scheduler for the model's own noise schedule.

    Args:
        name: a name of :data:`ROWS` or :data:`ALIASES`.
        model_config: the ``scheduler_config.json`` that lies with the model.

    Raises:
        UserError: unknown name.
    """
    row = ROWS.get(ALIASES.get(name, name))
    if row is None:
        known = [*ROWS, *ALIASES]
        raise UserError(
            f"'{name}' is not a sampler",
            remedy=did_you_mean(name, known) or f"Known: {', '.join(known)}.",
        )
    module, class_name, options = row
    kind = getattr(importlib.import_module(f"diffusers.schedulers.scheduling_{module}"), class_name)
    known = inspect.signature(kind).parameters
    shared = {key: model_config[key] for key in SHARED if key in model_config and key in known}
    with warnings.catch_warnings():
        # diffusers means to drop plain dpmsolver one day; our version range still has it
        warnings.filterwarnings("ignore", "`algorithm_types dpmsolver", FutureWarning)
        return kind(**shared, **options)
