"""The noise schedule and keyed noise.

x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) e, with abar the running product of 1 - beta
(DDPM, arXiv 2006.11239).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from renma.core import keyed


@dataclass(frozen=True)
class NoiseSchedule:
    """How much of the picture is left at each timestep; one object for loss and weights.

    Args:
        alphas_cumprod: (timesteps,) abar in float64, falling.
    """

    alphas_cumprod: Tensor

    @classmethod
    def scaled_linear(cls, start: float, end: float, timesteps: int) -> NoiseSchedule:
        """Returns Stable Diffusion's schedule: sqrt(beta) rises linearly."""
        betas = torch.linspace(start**0.5, end**0.5, timesteps, dtype=torch.float64) ** 2
        return cls(torch.cumprod(1 - betas, 0))

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> NoiseSchedule:
        """Returns the schedule of a diffusers ``scheduler_config.json``."""
        assert config["beta_schedule"] == "scaled_linear", config["beta_schedule"]
        return cls.scaled_linear(
            config["beta_start"], config["beta_end"], config["num_train_timesteps"]
        )

    @property
    def timesteps(self) -> int:
        """Number of timesteps."""
        return len(self.alphas_cumprod)

    def add_noise(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Returns noised latents (batch, 4, h, w) for timesteps (batch,)."""
        left = self.alphas_cumprod.to(latents.device)[timesteps].view(-1, 1, 1, 1)
        return left.sqrt().to(latents) * latents + (1 - left).sqrt().to(latents) * noise

    def snr(self, timesteps: Tensor) -> Tensor:
        """Returns the signal-to-noise ratio abar / (1 - abar), (batch,) float32."""
        left = self.alphas_cumprod.to(timesteps.device)[timesteps]
        return (left / (1 - left)).float()


def normal(shape: tuple[int, ...], seed: int, purpose: str, *position: keyed.Part) -> Tensor:
    """Draws N(0, 1) in float32 on the CPU, a function of its arguments alone."""
    generator = torch.Generator().manual_seed(keyed.key(seed, purpose, *position))
    return torch.randn(shape, generator=generator)
