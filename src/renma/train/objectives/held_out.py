"""The loss on pictures that are not trained on, at fixed timesteps with fixed noise.

The noise hangs on the picture and the timestep, not on the epoch, so that two measurements of a
run differ by what was learnt between them alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from renma.config.objective import ObjectiveConfig
from renma.diffusion.schedule import NoiseSchedule
from renma.families._base import Condition, Family
from renma.train.objectives.denoise import Off, Samples, loss
from renma.train.objectives.draws import Draws, Moments, draw, timestep_range

COUNT = 4
"""Timesteps that each picture is measured at, as many as kohya-ss has."""


def held_out_timesteps(schedule: NoiseSchedule, config: ObjectiveConfig) -> tuple[int, ...]:
    """Returns equally spaced timesteps inside the trained range: 200, 400, 600, 800 of 1000."""
    first, end = timestep_range(schedule, config)
    spaced = (first + (end - first) * i // (COUNT + 1) for i in range(1, COUNT + 1))
    return tuple(dict.fromkeys(spaced))


def held_out_draws(
    moments: Sequence[Moments],
    digests: Sequence[str],
    seed: int,
    schedule: NoiseSchedule,
    config: ObjectiveConfig,
) -> list[Draws]:
    """Returns the fixed draws of a batch, one for each timestep.

    Args:
        moments: posterior of each picture.
        digests: of each picture's content; the key of its noise.
        seed: a seed that stays the same between measurements.
        schedule: the noise schedule.
        config: kinds of noise, range of timesteps; as in training, so that losses compare.
    """
    return [
        draw(
            moments,
            [("held out", digest, time) for digest in digests],
            seed,
            schedule,
            config,
            timesteps=[time] * len(digests),
        )
        for time in held_out_timesteps(schedule, config)
    ]


@torch.no_grad()
def held_out_loss(
    family: Family,
    schedule: NoiseSchedule,
    draws: Sequence[Draws],
    condition: Condition,
    samples: Samples,
    config: ObjectiveConfig,
    network_off: Off,
) -> Tensor:
    """Returns the loss of each sample, the mean over the timesteps, (batch,).

    Args:
        family: the model with the network attached.
        schedule: the noise schedule.
        draws: of :func:`held_out_draws`, on the model's device.
        condition: the captions' states.
        samples: weights, masks and marks.
        config: kind of loss, weights of timesteps.
        network_off: gives the context of the base model's own prediction.
    """
    each = [
        loss(family, schedule, drawn, condition, samples, config, network_off) for drawn in draws
    ]
    return torch.stack(each).mean(0)
