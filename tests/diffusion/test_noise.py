"""Noise schedule against diffusers; keyed noise; every sampler name draws."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler

from renma.config.sample import Sampler
from renma.core.errors import UserError
from renma.diffusion import samplers
from renma.diffusion.noise import NoiseSchedule, normal

SCHEDULE = NoiseSchedule.scaled_linear(0.00085, 0.012, 1000)
SIGMAS = ((1 - SCHEDULE.alphas_cumprod) / SCHEDULE.alphas_cumprod).sqrt().numpy()
CONFIG = {
    "num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012,
    "beta_schedule": "scaled_linear", "prediction_type": "epsilon", "steps_offset": 1,
    "clip_sample": False, "set_alpha_to_one": False,
}  # fmt: skip


def test_add_noise_equals_diffusers():
    reference = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    torch.manual_seed(0)
    x, noise = torch.randn(6, 4, 3, 5), torch.randn(6, 4, 3, 5)
    times = torch.tensor([0, 1, 250, 500, 998, 999])
    torch.testing.assert_close(
        SCHEDULE.add_noise(x, noise, times),
        reference.add_noise(x, noise, times),
        rtol=1e-5,
        atol=1e-5,
    )
    torch.testing.assert_close(
        SCHEDULE.snr(times),
        reference.alphas_cumprod[times] / (1 - reference.alphas_cumprod[times]),
        rtol=1e-4,
        atol=1e-6,
    )


def test_keyed_noise_depends_on_every_part_of_its_key():
    one = normal((4, 8, 8), 1, "noise", 0, 5)
    assert torch.equal(one, normal((4, 8, 8), 1, "noise", 0, 5))
    others = [
        normal((4, 8, 8), *key)
        for key in [
            (2, "noise", 0, 5),
            (1, "posterior", 0, 5),
            (1, "noise", 1, 5),
            (1, "noise", 0, 6),
        ]
    ]
    assert all(
        abs(torch.corrcoef(torch.stack([one.flatten(), o.flatten()]))[0, 1]) < 0.25 for o in others
    )


@pytest.mark.parametrize("name", get_args(Sampler))
def test_every_sampler_finds_the_data_of_a_known_model(name):
    """With the exact noise of a single known picture, every sampler must end near that picture."""
    scheduler = samplers.build(name, CONFIG)
    scheduler.set_timesteps(30)
    picture = torch.linspace(-1, 1, 64).reshape(1, 4, 4, 4)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(picture.shape, generator=generator) * scheduler.init_noise_sigma
    for t in scheduler.timesteps:
        scaled = scheduler.scale_model_input(x, t)
        left = 1 / (1 + float(np.interp(float(t), np.arange(1000), SIGMAS)) ** 2)
        noise = (scaled - left**0.5 * picture) / (1 - left) ** 0.5
        x = scheduler.step(noise, t, x).prev_sample
    assert (x - picture).abs().max() < 0.1


def test_unknown_sampler_gets_a_suggestion():
    with pytest.raises(UserError, match="Did you mean 'k_euler_a'"):
        samplers.build("k_euler_aa", CONFIG)
