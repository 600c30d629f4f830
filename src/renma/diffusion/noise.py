"""Keyed noise: what is drawn for one showing of one picture, and the offsets and layers of it.

Every function draws for one sample and is a function of its arguments alone, so neither the other
pictures of a batch nor the number of processes changes what a sample gets. Where kohya-ss draws
once a batch (random strengths, pyramid sizes) or divides by the batch's deviation, renma does it
for each sample.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from renma.core import keyed

Place = tuple[keyed.Part, ...]
"""Position of a showing: epoch and running number, or what else tells it from all others."""


def normal(shape: tuple[int, ...], seed: int, purpose: str, *position: keyed.Part) -> Tensor:
    """Draws N(0, 1) in float32 on the CPU, a function of its arguments alone."""
    generator = torch.Generator().manual_seed(keyed.key(seed, purpose, *position))
    return torch.randn(shape, generator=generator)


def share(seed: int, purpose: str, *position: keyed.Part) -> float:
    """Draws a number that is uniform in 0 .. 1."""
    return keyed.rng(seed, purpose, *position).random()


def offset(latents: Tensor, strength: float, adaptive: float, seed: int, place: Place) -> Tensor:
    """Returns noise that is constant over each channel of a picture, (channels, 1, 1).

    Args:
        latents: (channels, h, w), what the adaptive share looks at.
        strength: deviation of the offset.
        adaptive: added to the strength for each unit of a channel's mean brightness; the sum does
            not fall below 0.
        seed: the run's seed.
        place: position of the showing.
    """
    drawn = normal((latents.shape[0], 1, 1), seed, "noise offset", *place)
    if not adaptive:
        return strength * drawn
    bright = latents.mean(dim=(1, 2), keepdim=True).abs()
    return (strength + adaptive * bright).clamp(min=0) * drawn


def layered(noise: Tensor, iterations: int, discount: float, seed: int, place: Place) -> Tensor:
    """Returns noise with coarser noise laid over it, scaled to deviation 1 over the sample.

    Layer i is drawn at 1 / r^i of the size, r uniform in 2 .. 4 for each layer, enlarged
    bilinearly and weighs discount^i; a layer that is one latent wide or high is the last.

    Args:
        noise: (channels, h, w).
        iterations: layers at most, the first at full size.
        discount: weight of each layer relative to the one before.
        seed: the run's seed.
        place: position of the showing.
    """
    channels, height, width = noise.shape
    total = noise
    for i in range(iterations):
        shrink = (2 + 2 * share(seed, "multires size", *place, i)) ** i
        size = max(1, int(height / shrink)), max(1, int(width / shrink))
        coarse = normal((1, channels, *size), seed, "multires noise", *place, i)
        total = total + discount**i * interpolate(coarse, (height, width), mode="bilinear")[0]
        if 1 in size:
            break
    return total / total.std()
