"""What is random about a batch: latents, noise, timesteps.

Every random number depends on (seed, purpose, place of the showing) alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from renma.config.objective import ObjectiveConfig
from renma.core import keyed
from renma.diffusion import noise as noises
from renma.diffusion.noise import Place
from renma.diffusion.schedule import NoiseSchedule

Moments = tuple[Tensor, Tensor]
"""Mean and deviation of the VAE's posterior, (channels, h, w) each."""


@dataclass(frozen=True)
class Draws:
    """What is random about one batch.

    Args:
        latents: (batch, channels, h, w) drawn from the VAE's posterior.
        noise: like ``latents``; what the model should find.
        timesteps: (batch,) whole numbers.
        noised_with: like ``latents``; what the input is noised with, if it is not ``noise``.
    """

    latents: Tensor
    noise: Tensor
    timesteps: Tensor
    noised_with: Tensor | None = None

    def to(self, device: torch.device) -> Draws:
        """Returns the same draws on a device."""
        moved = (self.latents.to(device), self.noise.to(device), self.timesteps.to(device))
        return Draws(*moved, None if self.noised_with is None else self.noised_with.to(device))

    def noisy(self, schedule: NoiseSchedule) -> Tensor:
        """Returns the model's input, (batch, channels, h, w)."""
        noise = self.noise if self.noised_with is None else self.noised_with
        return schedule.add_noise(self.latents, noise, self.timesteps)


def draw(
    moments: Sequence[Moments],
    places: Sequence[Place],
    seed: int,
    schedule: NoiseSchedule,
    config: ObjectiveConfig,
    timesteps: Sequence[int] | None = None,
) -> Draws:
    """Returns the random part of a batch.

    Args:
        moments: of each picture.
        places: epoch and position of each showing.
        seed: the run's seed.
        schedule: how many timesteps there are.
        config: kinds of noise, range of timesteps.
        timesteps: given ones (default: drawn).
    """
    latents, noise, inputs = [], [], []
    for (mean, deviation), place in zip(moments, places, strict=True):
        shape = tuple(mean.shape)
        latents.append(mean + deviation * noises.normal(shape, seed, "posterior", *place))
        noise.append(_noise(latents[-1], config, seed, place))
        inputs.append(_input_noise(noise[-1], config, seed, place))
    if timesteps is None:
        first, end = timestep_range(schedule, config)
        timesteps = [keyed.rng(seed, "timestep", *p).randrange(first, end) for p in places]
    own = torch.stack(inputs) if config.ip_noise_gamma else None
    return Draws(torch.stack(latents), torch.stack(noise), torch.tensor(timesteps), own)


def timestep_range(schedule: NoiseSchedule, config: ObjectiveConfig) -> tuple[int, int]:
    """Returns the first timestep that is trained, and the first that is no more."""
    return config.min_timestep, min(config.max_timestep, schedule.timesteps)


def _noise(latents: Tensor, config: ObjectiveConfig, seed: int, place: Place) -> Tensor:
    """Returns the noise of one sample, (channels, h, w)."""
    noise = noises.normal(tuple(latents.shape), seed, "noise", *place)
    if strength := config.noise_offset:
        if config.noise_offset_random_strength:
            strength *= noises.share(seed, "noise offset strength", *place)
        adaptive = config.adaptive_noise_scale
        noise = noise + noises.offset(latents, strength, adaptive, seed, place)
    if layers := config.multires_noise_iterations:
        noise = noises.layered(noise, layers, config.multires_noise_discount, seed, place)
    return noise


def _input_noise(noise: Tensor, config: ObjectiveConfig, seed: int, place: Place) -> Tensor:
    """Returns what the input of one sample is noised with (arXiv 2301.11706)."""
    strength = config.ip_noise_gamma
    if not strength:
        return noise
    if config.ip_noise_gamma_random_strength:
        strength *= noises.share(seed, "input noise strength", *place)
    return noise + strength * noises.normal(tuple(noise.shape), seed, "input noise", *place)
