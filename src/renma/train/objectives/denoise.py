"""Denoising: predict the noise that was added to the latents, or the velocity.

loss = weight of the sample * weight of its timestep * mean over the picture of the distance
between prediction and target (DDPM, arXiv 2006.11239). Each sample's loss is its own: it does not
depend on what else is in the batch.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor

from renma.config.objective import ObjectiveConfig
from renma.diffusion import weighting
from renma.diffusion.distance import bends, distance
from renma.diffusion.schedule import NoiseSchedule
from renma.families._base import Condition, Family
from renma.train.objectives.draws import Draws

Off = Callable[[], AbstractContextManager[object]]
"""Gives a context in which the trained network does not act."""


@dataclass(frozen=True)
class Samples:
    """What is special about the samples of a batch.

    Args:
        weights: (batch,), 1 or the weight of regularisation pictures.
        masks: (batch, 1, h, w) in 0 .. 1, how much each place counts; None: all alike.
        preserve: (batch,) bool, samples whose target is the base model's own prediction.
        plain: the captions of the whole batch as the base model's own text encoder says them,
            where the text encoder is trained; None: the condition that is trained with.
    """

    weights: Tensor
    masks: Tensor | None = None
    preserve: Tensor | None = None
    plain: Condition | None = None


def loss(
    family: Family,
    schedule: NoiseSchedule,
    draws: Draws,
    condition: Condition,
    samples: Samples,
    config: ObjectiveConfig,
    network_off: Off,
) -> Tensor:
    """Returns the weighted loss of each sample, (batch,) in float32 or better.

    Args:
        family: the model with the trained network attached.
        schedule: how much of the picture is left at each timestep.
        draws: latents, noise, timesteps on the model's device.
        condition: the captions' states.
        samples: weights, masks and marks, on the model's device.
        config: kind of loss, weights of timesteps.
        network_off: gives the context of the base model's own prediction.
    """
    noisy = draws.noisy(schedule)
    target = schedule.target(draws.latents, draws.noise, draws.timesteps)
    if samples.preserve is not None and samples.preserve.any():
        plain = samples.plain or condition
        with network_off():
            target = _preserved(family, noisy, draws.timesteps, plain, samples.preserve, target)
    predicted = family.predict(noisy, draws.timesteps, condition)
    predicted = predicted.to(torch.promote_types(predicted.dtype, torch.float32))
    bend = None
    if config.loss in ("huber", "smooth_l1"):
        how = (config.huber_schedule, config.huber_c, config.huber_scale)
        bend = bends(*how, schedule, draws.timesteps)
    each = _mean(distance(config.loss, predicted, target, bend), samples.masks)
    return each * (timestep_weights(schedule, draws.timesteps, config) * samples.weights).to(each)


def timestep_weights(schedule: NoiseSchedule, timesteps: Tensor, config: ObjectiveConfig) -> Tensor:
    """Returns how much each sample's timestep counts, (batch,) float32."""
    weights = torch.ones(len(timesteps), device=timesteps.device)
    if config.min_snr_gamma:
        weights = weights * weighting.min_snr(schedule, timesteps, config.min_snr_gamma)
    if config.scale_v_pred_loss_like_noise_pred:
        weights = weights * weighting.like_noise_prediction(schedule, timesteps)
    if share := config.v_pred_like_loss:
        weights = weights * weighting.with_velocity_share(schedule, timesteps, share)
    if config.debiased_estimation:
        weights = weights * weighting.debiased(schedule, timesteps)
    return weights


@torch.no_grad()
def _preserved(
    family: Family,
    noisy: Tensor,
    timesteps: Tensor,
    condition: Condition,
    marked: Tensor,
    target: Tensor,
) -> Tensor:
    """Returns the target with the model's own answer in the marked rows; asks for those only."""
    own = family.predict(noisy[marked], timesteps[marked], condition.take(marked))
    target = target.clone()
    target[marked] = own.to(target)
    return target


def _mean(elements: Tensor, masks: Tensor | None) -> Tensor:
    """Returns the mean of each sample over what its mask shows, (batch,); 0 if that is nothing."""
    if masks is None:
        return elements.mean(dim=(1, 2, 3))
    masks = masks.to(elements)
    area = masks.sum(dim=(1, 2, 3)) * elements.shape[1]
    total = (elements * masks).sum(dim=(1, 2, 3))
    return total / torch.where(area > 0, area, 1)
