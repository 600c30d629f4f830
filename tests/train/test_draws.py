"""What is random about a batch: keys, kinds of noise, timesteps, the VAE's deviation (E13)."""

from __future__ import annotations

import json

import pytest
import torch

from renma import assets
from renma.config.objective import ObjectiveConfig
from renma.core import keyed
from renma.diffusion.noise import layered, normal, share
from renma.diffusion.schedule import NoiseSchedule
from renma.train.objectives.draws import Draws
from renma.train.objectives.draws import draw as draw_batch

SHAPE = (4, 16, 16)
PLACES = [(0, 0), (0, 1), (3, 7)]
OFFSET = 0.25
SCHEDULE = NoiseSchedule.of(
    json.loads((assets.MAME / "scheduler" / "scheduler_config.json").read_text())
)


def draw(
    places=PLACES,
    seed: int = 42,
    offset: float = 0.0,
    mean: float = 2.0,
    std: float = 0.5,
    **options,
) -> Draws:
    moments = [(torch.full(SHAPE, mean), torch.full(SHAPE, std))] * len(places)
    config = ObjectiveConfig(noise_offset=offset, **options)
    return draw_batch(moments, places, seed, SCHEDULE, config)


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


def test_a_random_offset_is_a_share_of_the_whole_for_each_sample():
    places = [(0, i) for i in range(5)]
    plain, whole = draw(places).noise, draw(places, offset=OFFSET).noise
    part = draw(places, offset=OFFSET, noise_offset_random_strength=True).noise
    shares = torch.tensor([share(42, "noise offset strength", *place) for place in places])
    expected = plain + shares.view(-1, 1, 1, 1) * (whole - plain)
    torch.testing.assert_close(part, expected, rtol=1e-5, atol=1e-5)
    assert len(set(shares.tolist())) == 5


def test_the_adaptive_share_looks_at_the_latents():
    plain, whole = draw(std=0.0).noise, draw(std=0.0, offset=0.1, adaptive_noise_scale=0.2).noise
    numbers = torch.stack([normal((4, 1, 1), 42, "noise offset", *place) for place in PLACES])
    expected = plain + (0.1 + 0.2 * 2.0) * numbers  # latents are 2 everywhere
    torch.testing.assert_close(whole, expected, rtol=1e-5, atol=1e-5)


def test_layers_lie_over_the_offset():
    got = draw(offset=OFFSET, multires_noise_iterations=3, multires_noise_discount=0.7).noise
    below = draw(offset=OFFSET).noise
    for one, base, place in zip(got, below, PLACES, strict=True):
        torch.testing.assert_close(one, layered(base, 3, 0.7, 42, place))


@pytest.mark.parametrize("random", [False, True])
def test_input_noise_leaves_the_target_alone(random):
    """arXiv 2301.11706: the model sees noise + g * N(0, 1) and should answer the noise."""
    plain = draw()
    got = draw(ip_noise_gamma=0.1, ip_noise_gamma_random_strength=random)
    assert torch.equal(got.noise, plain.noise)
    assert torch.equal(got.timesteps, plain.timesteps)
    extra = torch.stack([normal(SHAPE, 42, "input noise", *place) for place in PLACES])
    shares = [share(42, "input noise strength", *place) if random else 1.0 for place in PLACES]
    expected = plain.noise + 0.1 * torch.tensor(shares).view(-1, 1, 1, 1) * extra
    assert got.noised_with is not None
    torch.testing.assert_close(got.noised_with, expected, rtol=1e-5, atol=1e-6)
    noisy = SCHEDULE.add_noise(got.latents, expected, got.timesteps)
    torch.testing.assert_close(got.noisy(SCHEDULE), noisy, rtol=1e-5, atol=1e-5)


def test_without_input_noise_the_input_is_noised_with_the_target():
    plain = draw()
    assert plain.noised_with is None
    expected = SCHEDULE.add_noise(plain.latents, plain.noise, plain.timesteps)
    assert torch.equal(plain.noisy(SCHEDULE), expected)


def test_timesteps_stay_in_the_range_and_reach_its_ends():
    times = draw([(0, i) for i in range(400)], min_timestep=300, max_timestep=310).timesteps
    assert set(times.tolist()) == set(range(300, 310))


ALL_ON = {
    "noise_offset_random_strength": True, "adaptive_noise_scale": 0.1, "ip_noise_gamma": 0.1,
    "multires_noise_iterations": 4, "ip_noise_gamma_random_strength": True, "max_timestep": 500,
}  # fmt: skip


def test_with_every_option_a_showing_draws_the_same_whatever_shares_its_batch():
    together = draw(offset=OFFSET, **ALL_ON)
    for index, place in enumerate(PLACES):
        alone = draw([place], offset=OFFSET, **ALL_ON)
        for name in ("latents", "noise", "timesteps", "noised_with"):
            assert torch.equal(getattr(alone, name)[0], getattr(together, name)[index]), name


def test_options_leave_the_other_draws_of_a_showing_alone():
    """Switching an option on changes what it is about, and no other random number."""
    plain, other = draw(), draw(offset=OFFSET, **ALL_ON | {"max_timestep": 1000})
    assert torch.equal(plain.latents, other.latents)
    assert torch.equal(plain.timesteps, other.timesteps)
    expected = [keyed.rng(42, "timestep", *place).randrange(1000) for place in PLACES]
    assert plain.timesteps.tolist() == expected


def test_latents_have_mean_and_deviation_of_the_vaes_posterior(mame):
    factor = json.loads((assets.MAME / "vae" / "config.json").read_text())["scaling_factor"]
    assert factor != 1
    pixels = torch.rand(2, 3, 32, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.inference_mode():
        mean, deviation = mame.encode_image(pixels)
        posterior = mame.parts()["vae"].encode(pixels).latent_dist
    torch.testing.assert_close(mean, posterior.mean * factor)
    torch.testing.assert_close(deviation, (posterior.logvar / 2).exp() * factor)
