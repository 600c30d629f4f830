"""[objective]: what the loss looks at."""

from __future__ import annotations

from typing import Literal

from renma.config._base import Section, opt


class ObjectiveConfig(Section):
    """What the loss looks at.

    Whatever is random here is drawn for each sample on its own, so neither the batch size nor the
    number of processes changes it.
    """

    prior_loss_weight: float = opt(1.0, kohya="prior_loss_weight", ge=0)
    """Weight of regularisation pictures."""
    prior_preservation: bool = opt(False, "advanced")
    """Regularisation pictures keep the base model's own answer: it is what they are compared with,
    instead of the noise. Costs a second pass of the U-Net for them."""
    noise_offset: float = opt(0.0, "advanced", kohya="noise_offset", ge=0, le=1)
    """Adds this much noise that is constant over the picture, so that brightness is learnt."""
    noise_offset_random_strength: bool = opt(False, "expert", kohya="noise_offset_random_strength")
    """Draws the strength of the offset between 0 and `noise_offset` for each sample."""
    adaptive_noise_scale: float = opt(0.0, "expert", kohya="adaptive_noise_scale", ge=-10, le=10)
    """Adds this times a channel's mean latent value to `noise_offset`; may be below 0."""
    multires_noise_iterations: int = opt(
        0, "advanced", kohya="multires_noise_iterations", ge=0, le=16
    )
    """Lays this many layers of ever coarser noise over the noise; 6 to 10 is usual, 0 is off."""
    multires_noise_discount: float = opt(
        0.3, "advanced", kohya="multires_noise_discount", gt=0, le=1
    )
    """Weight of each layer of multires noise relative to the finer one before it."""
    ip_noise_gamma: float = opt(0.0, "expert", kohya="ip_noise_gamma", ge=0, le=1)
    """Adds this much noise to the input only, arXiv 2301.11706; 0.1 is usual, 0 is off."""
    ip_noise_gamma_random_strength: bool = opt(
        False, "expert", kohya="ip_noise_gamma_random_strength"
    )
    """Draws the strength of that noise between 0 and `ip_noise_gamma` for each sample."""
    min_timestep: int = opt(0, "expert", kohya="min_timestep", ge=0, le=999)
    """The least noised timestep that is trained."""
    max_timestep: int = opt(1000, "expert", kohya="max_timestep", ge=1, le=1000)
    """Timesteps from this one on are not trained."""
    loss: Literal["l2", "l1", "huber", "smooth_l1"] = opt("l2", "advanced", kohya="loss_type")
    """How far off an answer is: its square, its size, or squares that turn into sizes beyond
    `huber_c`, so that odd pictures pull less (arXiv 2403.16728)."""
    huber_schedule: Literal["snr", "exponential", "constant"] = opt(
        "snr", "expert", kohya="huber_schedule"
    )
    """How the bend of `huber` and `smooth_l1` changes with the timestep: wide where little is
    noised, down to `huber_c`; or always `huber_c`."""
    huber_c: float = opt(0.1, "expert", kohya="huber_c", gt=0, le=10)
    """Where squares turn into sizes at the most noised timestep."""
    huber_scale: float = opt(1.0, "expert", kohya="huber_scale", gt=0, le=100)
    """Factor on the bend of the schedules `constant` and `exponential`."""
    min_snr_gamma: float = opt(0.0, "advanced", kohya="min_snr_gamma", ge=0)
    """Cuts the weight of easy (little noised) steps, arXiv 2303.09556; 5 is usual, 0 is off."""
    debiased_estimation: bool = opt(False, "advanced", kohya="debiased_estimation_loss")
    """Weighs a timestep by 1 / sqrt(signal to noise), arXiv 2310.08442."""
    scale_v_pred_loss_like_noise_pred: bool = opt(
        False, "expert", kohya="scale_v_pred_loss_like_noise_pred"
    )
    """Weighs the timesteps of a v-prediction model as noise prediction would."""
    v_pred_like_loss: float = opt(0.0, "expert", kohya="v_pred_like_loss", ge=0)
    """Adds this share of a v-prediction model's weights to a noise prediction model's."""
    zero_terminal_snr: bool | None = opt(None, "advanced", kohya="zero_terminal_snr", strict=True)
    """Makes the last timestep pure noise, arXiv 2305.08891; for v-prediction models. Left out, it
    is what the model's own files say."""
