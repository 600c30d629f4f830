"""What is random about a batch, and the loss: keys, the offset, min-SNR, the VAE's deviation."""

from __future__ import annotations

import json

import pytest
import torch
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

from renma import assets
from renma.config.objective import ObjectiveConfig
from renma.diffusion.noise import NoiseSchedule
from renma.families._base import Condition
from renma.train.objectives import denoise

SHAPE = (4, 16, 16)
PLACES = [(0, 0), (0, 1), (3, 7)]
OFFSET = 0.25


def draw(places=PLACES, seed: int = 42, offset: float = 0.0, mean: float = 2.0, std: float = 0.5):
    moments = [(torch.full(SHAPE, mean), torch.full(SHAPE, std))] * len(places)
    return denoise.draw(moments, places, seed, 1000, ObjectiveConfig(noise_offset=offset))


def four(places=PLACES, seed: int = 42) -> dict[str, torch.Tensor]:
    """The four things that are random about a showing."""
    plain, shifted = draw(places, seed), draw(places, seed, OFFSET)
    return {
        "posterior": (plain.latents - 2) / 0.5,
        "noise": plain.noise,
        "offset": (shifted.noise - plain.noise) / OFFSET,
        "timestep": plain.timesteps,
    }


def test_unchanged_inputs_give_unchanged_draws_whatever_torch_has_drawn():
    before = four()
    torch.manual_seed(5)
    torch.randn(3)
    for name, drawn in four().items():
        assert torch.equal(drawn, before[name]), name


@pytest.mark.parametrize(
    ("places", "seed"),
    [
        (PLACES, 43),
        ([(epoch + 1, position) for epoch, position in PLACES], 42),
        ([(epoch, position + 2) for epoch, position in PLACES], 42),
    ],
    ids=["seed", "epoch", "position"],
)
def test_each_draw_hangs_on_seed_epoch_and_position(places, seed):
    before, after = four(), four(places, seed)
    for name, drawn in after.items():
        for one, other in zip(before[name], drawn, strict=True):
            assert not torch.allclose(one.float(), other.float(), atol=1e-3), name


def test_a_showing_draws_the_same_whatever_shares_its_batch():
    together = four()
    for name, drawn in four([PLACES[2]]).items():
        assert torch.allclose(drawn[0], together[name][2], atol=1e-6), name


def test_posterior_and_noise_are_standard_normal_and_strangers_to_each_other():
    drawn = four([(0, i) for i in range(64)])
    posterior, noise = drawn["posterior"].flatten(), drawn["noise"].flatten()
    for values in (posterior, noise):
        assert abs(values.mean()) < 0.02
        assert abs(values.std() - 1) < 0.02
    assert abs((posterior * noise).mean()) < 0.02


def test_timesteps_cover_the_whole_schedule():
    times = draw([(0, i) for i in range(3000)], mean=0).timesteps.float()
    assert abs(times.mean() - 499.5) < 20
    assert times.min() < 5
    assert times.max() > 994


def test_noise_offset_moves_each_channel_of_each_picture_as_a_whole():
    offset = four([(0, i) for i in range(64)])["offset"]
    assert torch.allclose(offset, offset[:, :, :1, :1].expand_as(offset), atol=1e-5)
    own = offset[:, :, 0, 0].flatten()
    assert len(own.mul(1e4).round().unique()) == len(own)  # one number a channel and picture
    assert abs(own.mean()) < 0.2
    assert abs(own.std() - 1) < 0.15


def test_noise_offset_is_as_strong_as_asked():
    plain = draw().noise
    weak, strong = draw(offset=0.1).noise - plain, draw(offset=0.3).noise - plain
    assert torch.allclose(strong, 3 * weak, atol=1e-5)
    assert weak.abs().max() > 0.01


class Says:
    """A model that predicts what it is told to, and remembers what it was shown."""

    def __init__(self, answer: torch.Tensor) -> None:
        self.answer = answer

    def predict(self, noisy, timesteps, condition):
        self.noisy = noisy
        return self.answer


@pytest.mark.parametrize("gamma", [0.0, 1.0, 5.0])
def test_loss_is_the_papers_with_diffusers_alphas(gamma):
    """Hang et al., arXiv 2303.09556: weight min(SNR, gamma) / SNR for noise prediction."""
    scheduler = json.loads((assets.MAME / "scheduler" / "scheduler_config.json").read_text())
    times = torch.tensor([0, 50, 300, 600, 999])
    drawn = draw([(0, i) for i in range(5)])
    drawn = denoise.Draws(drawn.latents, drawn.noise, times)
    guess = torch.randn(5, *SHAPE, generator=torch.Generator().manual_seed(1))
    model, weights = Says(guess), torch.tensor([1.0, 1.0, 0.5, 1.0, 2.0])
    got = denoise.loss(
        model,
        NoiseSchedule.of(scheduler),
        drawn,
        Condition(torch.zeros(5, 1, 1)),
        weights,
        ObjectiveConfig(min_snr_gamma=gamma),
    )

    reference = DDPMScheduler.from_config(scheduler)
    left = reference.alphas_cumprod[times].double()
    snr = left / (1 - left)
    cut = torch.minimum(snr, torch.tensor(gamma).double()) / snr if gamma else torch.ones(5)
    squares = (guess - drawn.noise).double().square().mean(dim=(1, 2, 3))
    torch.testing.assert_close(got.double(), squares * cut * weights, rtol=1e-4, atol=0)
    theirs = reference.add_noise(drawn.latents, drawn.noise, times)
    torch.testing.assert_close(model.noisy, theirs, rtol=1e-4, atol=1e-5)


def test_latents_have_mean_and_deviation_of_the_vaes_posterior(mame):
    factor = json.loads((assets.MAME / "vae" / "config.json").read_text())["scaling_factor"]
    assert factor != 1
    pixels = torch.rand(2, 3, 32, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.inference_mode():
        mean, deviation = mame.encode_image(pixels)
        posterior = mame.parts()["vae"].encode(pixels).latent_dist
    torch.testing.assert_close(mean, posterior.mean * factor)
    torch.testing.assert_close(deviation, (posterior.logvar / 2).exp() * factor)
