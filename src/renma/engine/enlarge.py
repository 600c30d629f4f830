"""Larger latents for a second pass (hires), from the latents of the first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from renma.engine.offload import visiting
from renma.families._base import Family

Upscaler = Literal["latent", "lanczos"]


@dataclass(frozen=True)
class Hires:
    """A second pass at a larger size.

    Attributes:
        scale: how much larger each side is.
        steps: sampling steps of the whole way (None: as many as the first pass).
        strength: share of that way that is gone, from the end.
        upscaler: ``latent`` enlarges the latents, ``lanczos`` the picture.
    """

    scale: float
    steps: int | None = None
    strength: float = 0.7
    upscaler: Upscaler = "latent"

    def size(self, width: int, height: int, grain: int) -> tuple[int, int]:
        """Returns width and height of the second pass in pixels, multiples of ``grain``."""
        wide, high = (
            int(side * self.scale + grain / 2) // grain * grain for side in (width, height)
        )
        return wide, high


def enlarged(family: Family, latents: Tensor, size: tuple[int, int], upscaler: Upscaler) -> Tensor:
    """Returns scaled latents (batch, channels, h, w) of a larger picture.

    Args:
        family: the model, for its autoencoder.
        latents: scaled.
        size: width and height in pixels.
        upscaler: as of :class:`Hires`.
    """
    width, height = size
    if upscaler == "latent":
        small = (height // family.latent_factor, width // family.latent_factor)
        return functional.interpolate(latents, small, mode="bilinear", align_corners=False)
    found = []
    with visiting(family.parts()["vae"], latents.device):
        for one in latents.split(1):
            pixels = family.decode_image(one)[0].permute(1, 2, 0)  # (height, width, 3)
            picture = Image.fromarray((pixels * 255).round().byte().cpu().numpy())
            larger = np.asarray(picture.resize(size, Image.Resampling.LANCZOS), np.float32)
            again = torch.from_numpy(larger).permute(2, 0, 1)[None] / 127.5 - 1
            found.append(family.encode_image(again)[0])
    return torch.cat(found).to(latents)
