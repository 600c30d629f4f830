"""How much each timestep counts in the loss, from its signal-to-noise ratio (SNR).

The factors multiply where several are on.
"""

from __future__ import annotations

from torch import Tensor

from renma.diffusion.schedule import NoiseSchedule

_MOST = 1000.0
"""Ratios above it count as it in the scaled and debiased weights, as kohya-ss has them."""


def min_snr(schedule: NoiseSchedule, timesteps: Tensor, gamma: float) -> Tensor:
    """Returns min(SNR, gamma) / SNR, (batch,); for v-prediction over SNR + 1.

    Source: arXiv 2303.09556. A timestep without signal weighs nothing in v-prediction.
    """
    ratio = schedule.snr(timesteps)
    over = ratio + 1 if schedule.prediction == "v_prediction" else ratio
    return ratio.clamp(max=gamma) / over


def debiased(schedule: NoiseSchedule, timesteps: Tensor) -> Tensor:
    """Returns 1 / sqrt(SNR), (batch,); for v-prediction 1 / (SNR + 1). Source: arXiv 2310.08442."""
    ratio = schedule.snr(timesteps).clamp(max=_MOST)
    return 1 / (ratio + 1) if schedule.prediction == "v_prediction" else 1 / ratio.sqrt()


def like_noise_prediction(schedule: NoiseSchedule, timesteps: Tensor) -> Tensor:
    """Returns SNR / (SNR + 1), (batch,): on a velocity's error it gives that of the noise."""
    ratio = schedule.snr(timesteps).clamp(max=_MOST)
    return ratio / (ratio + 1)


def with_velocity_share(schedule: NoiseSchedule, timesteps: Tensor, share: float) -> Tensor:
    """Returns 1 + share (SNR + 1) / SNR, (batch,): adds a velocity's error to that of the noise."""
    return 1 + share / like_noise_prediction(schedule, timesteps)
