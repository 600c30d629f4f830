"""The base model as its own judge: what its U-Net sees in a picture, without any text.

A diffusion model's inner activations at little noise tell what a picture shows (DIFT, Tang et al.,
arXiv 2306.03881). The features are mean and deviation over the places of every channel behind the
middle block and the blocks on the way up but the last, which sees pixels rather than things.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from renma.diffusion import noise
from renma.diffusion.schedule import NoiseSchedule
from renma.engine.offload import device_of, visiting
from renma.families._base import Condition, Family

SHARES = (0.05, 0.2)
"""Timesteps, as shares of the schedule."""
BATCH = 16
STEP = 32
"""Sides of encoded pictures are multiples of so many pixels."""


class UnetEncoder:
    """Features of the base model's U-Net.

    Args:
        family: the model, without LoRAs; its VAE in memory.
    """

    name = "the base model's own U-Net"

    def __init__(self, family: Family) -> None:
        self._family = family
        self._schedule = NoiseSchedule.of(family.scheduler_config)
        self._nothing: Condition | None = None

    def encode(self, pictures: Sequence[Image.Image]) -> np.ndarray:
        """Returns features (pictures, d), float32; whatever the size of a picture."""
        pixels = [pixels_of(picture, self._family.native_size) for picture in pictures]
        groups: dict[tuple[int, ...], list[int]] = {}
        for place, one in enumerate(pixels):
            groups.setdefault(tuple(one.shape), []).append(place)
        found: dict[int, np.ndarray] = {}
        for members in groups.values():
            for start in range(0, len(members), BATCH):
                part = members[start : start + BATCH]
                rows = self._seen(torch.stack([pixels[i] for i in part]))
                found |= dict(zip(part, rows, strict=True))
        return np.stack([found[i] for i in range(len(pictures))])

    @torch.no_grad()
    def _seen(self, pixels: Tensor) -> np.ndarray:
        family = self._family
        unet: Any = family.parts()["unet"]
        device = device_of(unet)
        with visiting(family.parts()["vae"], device):
            latents = family.encode_image(pixels)[0].to(device)
        condition = self._condition(pixels)
        seen: list[Tensor] = []
        with _watched([unet.mid_block, *unet.up_blocks[:-1]], seen):
            for share in SHARES:
                time = int(share * self._schedule.timesteps)
                times = torch.full((len(latents),), time, device=device)
                # the same noise for every picture: what differs is the picture alone
                same = noise.normal(tuple(latents.shape[1:]), 0, "judge", time).to(device)
                noisy = self._schedule.add_noise(latents, same.expand_as(latents), times)
                family.predict(noisy, times, condition)
        return torch.cat(seen, 1).cpu().numpy()

    def _condition(self, pixels: Tensor) -> Condition:
        if self._nothing is None:
            self._nothing = self._family.encode_text([""])
        rows = torch.zeros(len(pixels), dtype=torch.long, device=self._nothing.states.device)
        condition = self._nothing.take(rows)
        if not self._family.wants_sizes:
            return condition
        height, width = pixels.shape[2:]
        sizes = torch.tensor([[height, width, 0, 0, height, width]], dtype=torch.float32)
        return condition.with_sizes(sizes.expand(len(pixels), -1).to(condition.states.device))


@contextmanager
def _watched(blocks: Sequence[Any], seen: list[Tensor]) -> Iterator[None]:
    def look(_module: Any, _inputs: Any, output: Any) -> None:
        places = (output[0] if isinstance(output, tuple) else output).float()
        seen.append(torch.cat([places.mean((2, 3)), places.std((2, 3))], 1))

    handles = [block.register_forward_hook(look) for block in blocks]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def pixels_of(picture: Image.Image, side: int) -> Tensor:
    """Returns a picture as (3, height, width) in -1 .. 1, about ``side`` x ``side`` in area."""
    scale = side / (picture.width * picture.height) ** 0.5
    width, height = (max(1, round(s * scale / STEP)) * STEP for s in picture.size)
    rgb = picture.convert("RGB")
    if rgb.size != (width, height):
        rgb = rgb.resize((width, height), Image.Resampling.LANCZOS)
    array = torch.from_numpy(np.asarray(rgb, dtype=np.float32).copy())
    return array.permute(2, 0, 1) / 127.5 - 1
