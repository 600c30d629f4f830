"""The base model says whether a picture shows a tag: does it denoise it better when it is told so?

A picture is noised, and the base model predicts the noise with the class prompt, and with the class
prompt and the tag. How much less it errs with the tag is how much of the tag it sees (diffusion
classifiers, Li et al., arXiv 2303.16203). Subject and style of a LoRA stand in both predictions and
cancel; distances between features of pictures mix them up with the tag.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from renma.diffusion import noise
from renma.diffusion.schedule import NoiseSchedule
from renma.engine.offload import device_of, visiting
from renma.families._base import Condition, Family
from renma.judge.encoders.unet import pixels_of

SHARES = (0.1, 0.4, 0.7)
"""Timesteps, as shares of the schedule."""
BATCH = 8
"""Pictures computed at once."""


class Denoiser(Protocol):
    """Whatever says how well pictures fit prompts."""

    def errors(self, pictures: Sequence[Image.Image], prompts: Sequence[str]) -> np.ndarray:
        """Returns errors (prompts, pictures, timesteps) of pictures of one size."""
        ...


class ModelDenoiser:
    """The base model.

    Args:
        family: the model, without LoRAs; its VAE in memory.
        batch_size: pictures computed at once.
    """

    def __init__(self, family: Family, batch_size: int | None = None) -> None:
        self._family, self._batch = family, batch_size or BATCH
        self._schedule = NoiseSchedule.of(family.scheduler_config)

    @torch.no_grad()
    def errors(self, pictures: Sequence[Image.Image], prompts: Sequence[str]) -> np.ndarray:
        """Returns mean squared errors (prompts, pictures, timesteps), the same noise for all."""
        family = self._family
        # brackets in prompts are escaped, as where pictures are drawn
        told = [family.encode_text([text], weighted=True) for text in prompts]
        device = device_of(family.parts()["unet"])
        found = []
        for start in range(0, len(pictures), self._batch):
            part = pictures[start : start + self._batch]
            pixels = torch.stack([pixels_of(each, family.native_size) for each in part])
            with visiting(family.parts()["vae"], device):
                latents = family.encode_image(pixels)[0].to(device)
            found.append([self._of(latents, condition) for condition in told])
        return np.concatenate([np.stack(rows) for rows in found], 1)

    def _of(self, latents: Tensor, condition: Condition) -> np.ndarray:
        """Returns errors (pictures, timesteps) with one prompt."""
        family, schedule = self._family, self._schedule
        rows = torch.zeros(len(latents), dtype=torch.long, device=condition.states.device)
        condition = condition.take(rows)
        if family.wants_sizes:
            height, width = (side * family.latent_factor for side in latents.shape[2:])
            sizes = torch.tensor([[height, width, 0, 0, height, width]], dtype=torch.float32)
            condition = condition.with_sizes(sizes.expand(len(latents), -1).to(latents.device))
        columns = []
        for share in SHARES:
            time = int(share * schedule.timesteps)
            times = torch.full((len(latents),), time, device=latents.device)
            drawn = noise.normal(tuple(latents.shape[1:]), 0, "judge absorbed", time)
            drawn = drawn.to(latents.device).expand_as(latents)
            target = schedule.target(latents, drawn, times)
            seen = family.predict(schedule.add_noise(latents, drawn, times), times, condition)
            columns.append((seen.float() - target.float()).square().mean((1, 2, 3)))
        return torch.stack(columns, 1).cpu().numpy()
