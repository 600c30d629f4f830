"""How far a prediction is from its target, element by element.

l2 = d^2, l1 = |d|, huber = 2c (sqrt(d^2 + c^2) - c), smooth_l1 = 2 (sqrt(d^2 + c^2) - c): the
pseudo-Huber losses of arXiv 2403.16728, whose bend c may change with the timestep.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from renma.diffusion.schedule import NoiseSchedule

Kind = Literal["l2", "l1", "huber", "smooth_l1"]
Bend = Literal["snr", "exponential", "constant"]


def distance(kind: Kind, predicted: Tensor, target: Tensor, bend: Tensor | None) -> Tensor:
    """Returns the loss of each element, shaped like ``predicted``.

    Args:
        kind: which loss.
        predicted: (batch, channels, h, w).
        target: like ``predicted``.
        bend: (batch,) c of each sample, for the pseudo-Huber losses.
    """
    off = predicted - target
    if kind == "l2":
        return off.square()
    if kind == "l1":
        return off.abs()
    assert bend is not None
    c = bend.to(off).view(-1, 1, 1, 1)
    # d^2 / (sqrt(d^2 + c^2) + c) is the same difference without its cancellation at small d
    squares = off.square()
    root = 2 * squares / ((squares + c.square()).sqrt() + c)
    return root * c if kind == "huber" else root


def bends(
    kind: Bend, at_most_noise: float, scale: float, schedule: NoiseSchedule, timesteps: Tensor
) -> Tensor:
    """Returns the bend c of each sample, (batch,) float32.

    Args:
        kind: ``snr`` falls from 1 as the noise grows, ``exponential`` from 1 with the timestep.
        at_most_noise: c where nothing of the picture is left.
        scale: factor on ``constant`` and ``exponential``.
        schedule: the noise schedule.
        timesteps: (batch,).
    """
    if kind == "snr":
        # sigma = 1 / sqrt(snr), so 1 / (1 + sigma) = root / (root + 1), finite at snr 0
        root = schedule.snr(timesteps).sqrt()
        return (1 - at_most_noise) * (root / (root + 1)).square() + at_most_noise
    share = timesteps.float() / schedule.timesteps
    if kind == "constant":
        return torch.full_like(share, at_most_noise * scale)
    return (share * math.log(at_most_noise)).exp() * scale
