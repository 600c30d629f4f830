"""Every sampler name draws, with the betas and the prediction that were trained (E8, E13)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, get_args

import numpy as np
import pytest
import torch

from renma.config.objective_rules import NOT_FROM_PURE_NOISE
from renma.config.sample import Sampler
from renma.core.errors import UserError
from renma.diffusion import samplers
from renma.diffusion.schedule import NoiseSchedule

CONFIG = {
    "num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012,
    "beta_schedule": "scaled_linear", "prediction_type": "epsilon", "steps_offset": 1,
    "clip_sample": False, "set_alpha_to_one": False, "timestep_spacing": "leading",
}  # fmt: skip
V = {**CONFIG, "prediction_type": "v_prediction"}
SCHEDULES = {
    "epsilon": NoiseSchedule.of(CONFIG),
    "v": NoiseSchedule.of(V),
    "v zero terminal": NoiseSchedule.of(V, True),
}
NAMES = get_args(Sampler)
FROM_PURE_NOISE = [name for name in samplers.ROWS if name not in NOT_FROM_PURE_NOISE]


PICTURE = torch.linspace(-1, 1, 64, dtype=torch.float64).reshape(1, 4, 4, 4)
Guess = Callable[[torch.Tensor, float, float], torch.Tensor]


def drawn(name: str, schedule: NoiseSchedule, steps: int, shape: Sequence[int], guess: Guess):
    """What a sampler draws with a model that is given by its guess of the picture.

    Args:
        name: the sampler.
        schedule: the noise schedule.
        steps: sampling steps.
        shape: of the latents.
        guess: from noised latents, abar and timestep.
    """
    scheduler = samplers.build(name, schedule.sampler_config())
    scheduler.set_timesteps(steps)
    x = torch.randn(tuple(shape), generator=torch.Generator().manual_seed(0))
    x = x * scheduler.init_noise_sigma
    random = {"generator": torch.Generator().manual_seed(1)} if name.endswith("_a") else {}
    for t in scheduler.timesteps:
        shown = scheduler.scale_model_input(x, t).double()
        left = float(np.interp(float(t), np.arange(1000), schedule.alphas_cumprod.numpy()))
        picture = guess(shown, left, float(t))
        noise = (shown - left**0.5 * picture) / (1 - left) ** 0.5
        velocity = left**0.5 * noise - (1 - left) ** 0.5 * picture
        answer = noise if schedule.prediction == "epsilon" else velocity
        x = scheduler.step(answer.float(), t, x, **random).prev_sample
    return x


DRAWN = [
    (kind, name)
    for kind in SCHEDULES
    for name in (FROM_PURE_NOISE if SCHEDULES[kind].zero_terminal_snr else NAMES)
]


@pytest.mark.parametrize(("kind", "name"), DRAWN)
def test_every_sampler_finds_the_data_of_a_known_model(kind, name):
    """With the exact answer for a single known picture, every sampler must end near it."""
    found = drawn(name, SCHEDULES[kind], 30, PICTURE.shape, lambda *_: PICTURE)
    assert (found - PICTURE).abs().max() < 0.15  # DDIM ends at the first timestep's noise


def mean_drawn(name: str, doubt: float) -> float:
    """The mean of what is drawn in 8 steps from numbers around 2.

    Args:
        name: the sampler.
        doubt: how far the model is off where all is noise.
    """
    mean, spread = 2.0, 0.3

    def guess(shown: torch.Tensor, left: float, t: float) -> torch.Tensor:
        share = left**0.5 * spread**2 / (left * spread**2 + 1 - left)
        return mean + share * (shown - left**0.5 * mean) + (doubt if t > 990 else 0)

    schedule = SCHEDULES["v zero terminal"]
    return float(drawn(name, schedule, 8, (1, 4, 32, 32), guess).mean())


@pytest.mark.parametrize("name", FROM_PURE_NOISE)
def test_doubt_at_pure_noise_does_not_stay_in_the_picture(name):
    """arXiv 2305.08891, 3.3: sampling begins at the last timestep, where nothing is left."""
    assert abs(mean_drawn(name, 0.0) - 2) < 0.15
    assert abs(mean_drawn(name, 0.2) - mean_drawn(name, 0.0)) < 0.06
    scheduler = samplers.build(name, SCHEDULES["v zero terminal"].sampler_config())
    scheduler.set_timesteps(8)
    assert int(scheduler.timesteps[0]) == 999


@pytest.mark.parametrize("name", NOT_FROM_PURE_NOISE)
def test_where_it_would_stay_the_sampler_is_refused(name, monkeypatch):
    with pytest.raises(UserError, match="zero terminal SNR.*Use one of ddim"):
        samplers.build(name, SCHEDULES["v zero terminal"].sampler_config())
    monkeypatch.setattr(samplers, "NOT_FROM_PURE_NOISE", ())
    assert abs(mean_drawn(name, 0.2) - mean_drawn(name, 0.0)) > 0.3


@pytest.mark.parametrize("kind", SCHEDULES)
@pytest.mark.parametrize("name", FROM_PURE_NOISE)
def test_samplers_have_the_schedule_of_training(name, kind):
    schedule = SCHEDULES[kind]
    scheduler: Any = samplers.build(name, schedule.sampler_config())
    assert scheduler.config.prediction_type == schedule.prediction
    ours = schedule.alphas_cumprod.float()
    # 0 cannot be divided by: where a sampler does, 2^-24 stands for it
    torch.testing.assert_close(scheduler.alphas_cumprod, ours, rtol=2e-3, atol=1e-7)
    assert scheduler.alphas_cumprod[-1] <= max(float(ours[-1]) * 1.01, 2.0**-24 * 1.01)


def test_a_rescaled_model_can_be_trained_and_drawn_without_the_rescaling():
    own = {**V, "rescale_betas_zero_snr": True}
    scheduler: Any = samplers.build("euler", NoiseSchedule.of(own, False).sampler_config())
    expected = SCHEDULES["v"].alphas_cumprod.float()
    torch.testing.assert_close(scheduler.alphas_cumprod, expected, rtol=2e-3, atol=1e-7)


def test_unknown_sampler_gets_a_suggestion():
    with pytest.raises(UserError, match="Did you mean 'k_euler_a'"):
        samplers.build("k_euler_aa", CONFIG)
