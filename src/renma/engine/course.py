"""The way from noise to a picture's latents, whatever it is that predicts.

A second pass begins in the middle, at latents of a first one with noise upon them, as img2img of
diffusers does (SDEdit, arXiv 2108.01073).
"""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from renma.diffusion import samplers
from renma.engine.offload import device_of
from renma.families._base import Family

Predict = Callable[[Tensor, Tensor], Tensor]
"""From scaled inputs (batch, channels, h, w) and a timestep to the prediction, shaped alike."""


@dataclass(frozen=True)
class Course:
    """How latents are led.

    Attributes:
        width: of the picture in pixels.
        height: of the picture in pixels.
        sampler: its name.
        steps: of the whole way.
        strength: the share of the way that is gone, from the end; below 1 only with a start.
    """

    width: int
    height: int
    sampler: str
    steps: int
    strength: float = 1.0


@dataclass(frozen=True)
class Place:
    """A place on the way.

    Attributes:
        gone: steps that lie behind; those of the whole way at its end.
        latents: as the sampler has them, (batch, channels, h, w) in float32.
        inputs: the same as the model is shown them; at the end there is nothing to ask it.
        timestep: that the model is told, a scalar.
    """

    gone: int
    latents: Tensor
    inputs: Tensor
    timestep: Tensor


def follow(
    family: Family,
    course: Course,
    seeds: Sequence[int],
    predict: Predict,
    schedule_config: Mapping[str, Any] | None = None,
    start: Tensor | None = None,
) -> Tensor:
    """Returns the final scaled latents (batch, channels, h, w) in float32.

    Args:
        family: the model.
        course: the same for the whole batch.
        seeds: one a picture; its noise depends on nothing else.
        predict: the guided prediction.
        schedule_config: the noise schedule (default: the model's own).
        start: scaled latents to begin from (default: pure noise).
    """
    way = walk(family, course, seeds, predict, schedule_config, start)
    return deque(way, maxlen=1)[0].latents


def walk(
    family: Family,
    course: Course,
    seeds: Sequence[int],
    predict: Predict,
    schedule_config: Mapping[str, Any] | None = None,
    start: Tensor | None = None,
) -> Iterator[Place]:
    """Yields every place before its step is gone, and the end; arguments as of :func:`follow`."""
    unet: Any = family.parts()["unet"]
    device = device_of(unet)
    scheduler = samplers.build(course.sampler, schedule_config or family.scheduler_config)
    scheduler.set_timesteps(course.steps, device=device)
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    factor = family.latent_factor
    shape = (unet.config.in_channels, course.height // factor, course.width // factor)
    noise = torch.stack([torch.randn(shape, generator=g) for g in generators]).to(device)
    timesteps = scheduler.timesteps
    if start is None:
        latents = noise * scheduler.init_noise_sigma
    else:
        gone = max(1, min(int(course.steps * course.strength), course.steps))
        first = (course.steps - gone) * getattr(scheduler, "order", 1)
        timesteps = timesteps[first:]
        if hasattr(scheduler, "set_begin_index"):  # those that count their steps
            scheduler.set_begin_index(first)
        latents = scheduler.add_noise(start, noise, timesteps[:1])
    random = "generator" in inspect.signature(scheduler.step).parameters
    extra = {"generator": generators} if random else {}
    for number, timestep in enumerate(timesteps):
        inputs = scheduler.scale_model_input(latents, timestep)
        yield Place(number, latents, inputs, timestep)
        output = predict(inputs, timestep)
        latents = scheduler.step(output, timestep, latents, **extra).prev_sample
    yield Place(len(timesteps), latents, latents, torch.zeros_like(timesteps[0]))
