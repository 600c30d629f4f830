"""The loss on real pictures at fixed timesteps with fixed noise, so that checkpoints compare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from renma.data.pictures import read_rgb
from renma.diffusion import noise
from renma.diffusion.schedule import NoiseSchedule
from renma.engine.offload import device_of, visiting
from renma.families._base import Family
from renma.judge.encoders.unet import pixels_of

SHARES = (0.1, 0.3, 0.5, 0.7)
"""Timesteps, as shares of the schedule."""


@dataclass(frozen=True)
class Real:
    """One real picture with its caption."""

    path: Path
    caption: str


class Losses:
    """Measures with whatever LoRA is on the model at the time.

    Args:
        family: the model; its VAE in memory.
        real: pictures with captions.
        schedule: the noise schedule that was trained with.
    """

    def __init__(self, family: Family, real: Sequence[Real], schedule: NoiseSchedule) -> None:
        self._family, self._real, self._schedule = family, real, schedule
        self._latents: list[Tensor] = []

    @torch.no_grad()
    def measure(self) -> np.ndarray:
        """Returns the mean squared error of each picture (pictures,)."""
        family = self._family
        if not self._latents:
            device = device_of(family.parts()["unet"])
            with visiting(family.parts()["vae"], device):
                for one in self._real:
                    picture = Image.fromarray(read_rgb(one.path))
                    pixels = pixels_of(picture, family.native_size)
                    self._latents.append(family.encode_image(pixels[None])[0].to(device))
        pairs = zip(self._latents, self._real, strict=True)
        return np.array([self._one(latents, one.caption) for latents, one in pairs])

    def _one(self, latents: Tensor, caption: str) -> float:
        family, schedule = self._family, self._schedule
        times = torch.tensor(
            [int(share * schedule.timesteps) for share in SHARES], device=latents.device
        )
        condition = family.encode_text([caption])
        condition = condition.take(
            torch.zeros(len(times), dtype=torch.long, device=condition.states.device)
        )
        if family.wants_sizes:
            height, width = (side * family.latent_factor for side in latents.shape[2:])
            sizes = torch.tensor([[height, width, 0, 0, height, width]], dtype=torch.float32)
            condition = condition.with_sizes(sizes.expand(len(times), -1).to(latents.device))
        drawn = torch.stack(
            [noise.normal(tuple(latents.shape[1:]), 0, "judge loss", int(t)) for t in times]
        ).to(latents.device)
        clean = latents.expand_as(drawn)
        target = schedule.target(clean, drawn, times)
        found = family.predict(schedule.add_noise(clean, drawn, times), times, condition)
        return float((found.float() - target.float()).square().mean())
