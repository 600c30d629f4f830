"""The noise schedule against diffusers' own: betas, noised latents, velocity, SNR (E13)."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from diffusers.schedulers.scheduling_ddim import rescale_zero_terminal_snr
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from diffusers.training_utils import compute_snr

from renma.core.errors import UserError
from renma.diffusion.schedule import NoiseSchedule

SD = {
    "num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
}  # fmt: skip
V = {**SD, "prediction_type": "v_prediction"}
KINDS = {
    "scaled_linear": SD,
    "linear": {**SD, "beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02},
    "squaredcos": {**SD, "beta_schedule": "squaredcos_cap_v2"},
    "short": {**SD, "num_train_timesteps": 40},
    "trained": {**SD, "num_train_timesteps": 3, "trained_betas": [0.1, 0.2, 0.4]},
}
TIMES = torch.tensor([0, 1, 250, 500, 998, 999])


def some(seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(len(TIMES), 4, 3, 5, generator=generator)


@pytest.mark.parametrize("config", KINDS.values(), ids=KINDS)
def test_betas_are_those_of_diffusers(config):
    ours = NoiseSchedule.of(config)
    theirs = DDPMScheduler(**config)
    assert ours.timesteps == len(theirs.betas)
    torch.testing.assert_close(ours.betas.float(), theirs.betas, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(
        ours.alphas_cumprod.float(), theirs.alphas_cumprod, rtol=2e-4, atol=1e-7
    )


@pytest.mark.parametrize("zero_terminal", [False, True])
def test_noised_latents_and_velocity_are_those_of_diffusers(zero_terminal):
    ours = NoiseSchedule.of(V, zero_terminal)
    theirs = DDPMScheduler(**V, rescale_betas_zero_snr=zero_terminal)
    x, noise = some(0), some(1)
    close = {"rtol": 1e-5, "atol": 1e-5}
    torch.testing.assert_close(
        ours.add_noise(x, noise, TIMES), theirs.add_noise(x, noise, TIMES), **close
    )
    expected = theirs.get_velocity(x, noise, TIMES)
    torch.testing.assert_close(ours.velocity(x, noise, TIMES), expected, **close)
    torch.testing.assert_close(ours.target(x, noise, TIMES), expected, **close)


def test_a_noise_prediction_models_target_is_the_noise():
    x, noise = some(0), some(1)
    assert torch.equal(NoiseSchedule.of(SD).target(x, noise, TIMES), noise)


@pytest.mark.parametrize("zero_terminal", [False, True])
def test_snr_is_that_of_diffusers_and_finite(zero_terminal):
    ours = NoiseSchedule.of(V, zero_terminal)
    theirs = DDPMScheduler(**V, rescale_betas_zero_snr=zero_terminal)
    got = ours.snr(TIMES)
    # diffusers' rounding of 1 - beta in float32 shows where little is left
    torch.testing.assert_close(got, compute_snr(theirs, TIMES), rtol=3e-3, atol=1e-8)
    assert ours.snr(torch.arange(1000)).isfinite().all()
    assert (got[-1] == 0) == zero_terminal


def test_zero_terminal_schedule_is_algorithm_1():
    """arXiv 2305.08891: nothing is left at the end, the first step stays, the order too."""
    plain, rescaled = NoiseSchedule.of(V), NoiseSchedule.of(V, True)
    theirs = rescale_zero_terminal_snr(plain.betas)  # their arithmetic, in float64
    torch.testing.assert_close(rescaled.betas, theirs, rtol=1e-9, atol=1e-12)
    assert rescaled.alphas_cumprod[-1] == 0
    assert rescaled.alphas_cumprod[0] == pytest.approx(float(plain.alphas_cumprod[0]), rel=1e-12)
    assert (rescaled.alphas_cumprod.diff() < 0).all()
    x, noise = some(0), some(1)
    last = torch.full((len(TIMES),), 999)
    assert torch.equal(rescaled.add_noise(x, noise, last), noise)
    assert torch.equal(rescaled.velocity(x, noise, last), -x)


def test_left_out_it_is_what_the_model_says():
    own = {**V, "rescale_betas_zero_snr": True}
    assert NoiseSchedule.of(own).zero_terminal_snr
    assert not NoiseSchedule.of(own, False).zero_terminal_snr
    assert not NoiseSchedule.of(V).zero_terminal_snr
    assert NoiseSchedule.of(SD).prediction == "epsilon"
    assert NoiseSchedule.of(V).prediction == "v_prediction"


@pytest.mark.parametrize(
    ("config", "zero_terminal", "what"),
    [
        ({**SD, "prediction_type": "sample"}, None, "predicts 'sample'"),
        ({**SD, "beta_schedule": "scaled_linaer"}, None, "Did you mean 'scaled_linear'"),
        (SD, True, "needs a model that predicts the velocity"),
        ({**SD, "rescale_betas_zero_snr": True}, None, "needs a model that predicts the velocity"),
    ],
)
def test_what_cannot_be_is_refused(config, zero_terminal, what):
    with pytest.raises(UserError, match=what):
        NoiseSchedule.of(config, zero_terminal)


def test_the_schedule_cannot_be_changed_and_keeps_the_precision_it_is_given():
    schedule = NoiseSchedule.of(SD)
    with pytest.raises(dataclasses.FrozenInstanceError):
        schedule.prediction = "v_prediction"  # pyright: ignore
    for dtype in (torch.float32, torch.float64):
        x = torch.ones(1, 4, 2, 2, dtype=dtype)
        assert schedule.add_noise(x, x, torch.tensor([3])).dtype == dtype
