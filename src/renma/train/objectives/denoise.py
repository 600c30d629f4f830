"""Denoising: predict the noise that was added to the latents (DDPM, arXiv 2006.11239).

loss = sum over samples of weight * mean((predicted - noise)^2). Every random number depends on
(seed, purpose, epoch, position of the showing) alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from renma.config.objective import ObjectiveConfig
from renma.core import keyed
from renma.diffusion.noise import NoiseSchedule, normal
from renma.families._base import Condition, Family


@dataclass(frozen=True)
class Draws:
    """What is random about one batch.

    Args:
        latents: (batch, channels, h, w) drawn from the VAE's posterior.
        noise: like ``latents``.
        timesteps: (batch,) whole numbers.
    """

    latents: Tensor
    noise: Tensor
    timesteps: Tensor


def draw(
    moments: Sequence[tuple[Tensor, Tensor]],
    places: Sequence[tuple[int, int]],
    seed: int,
    timesteps: int,
    config: ObjectiveConfig,
) -> Draws:
    """Returns the random part of a batch.

    Args:
        moments: posterior mean and deviation of each picture, (channels, h, w).
        places: epoch and position of each showing.
        seed: the run's seed.
        timesteps: length of the noise schedule.
        config: noise offset.
    """
    latents, noise, times = [], [], []
    for (mean, deviation), place in zip(moments, places, strict=True):
        shape = tuple(mean.shape)
        latents.append(mean + deviation * normal(shape, seed, "posterior", *place))
        own = normal(shape, seed, "noise", *place)
        if config.noise_offset:
            offset = normal((shape[0], 1, 1), seed, "noise offset", *place)
            own = own + config.noise_offset * offset
        noise.append(own)
        times.append(keyed.rng(seed, "timestep", *place).randrange(timesteps))
    return Draws(torch.stack(latents), torch.stack(noise), torch.tensor(times))


def loss(
    family: Family,
    schedule: NoiseSchedule,
    draws: Draws,
    condition: Condition,
    weights: Tensor,
    config: ObjectiveConfig,
) -> Tensor:
    """Returns the weighted loss of each sample, (batch,) float32.

    Args:
        family: the model with the trained network attached.
        schedule: how much of the picture is left at each timestep.
        draws: latents, noise, timesteps on the model's device.
        condition: the captions' states.
        weights: (batch,), 1 or the weight of regularisation pictures.
        config: min-SNR.
    """
    noisy = schedule.add_noise(draws.latents, draws.noise, draws.timesteps)
    predicted = family.predict(noisy, draws.timesteps, condition)
    each = (predicted - draws.noise).square().mean(dim=(1, 2, 3))
    if config.min_snr_gamma:
        snr = schedule.snr(draws.timesteps)
        each = each * snr.clamp(max=config.min_snr_gamma) / snr
    return each * weights
