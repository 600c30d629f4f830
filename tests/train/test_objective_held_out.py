"""The held-out loss: fixed timesteps and noise that hang on the picture, not on the epoch (E6)."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import torch

from renma.config.objective import ObjectiveConfig
from renma.diffusion.schedule import NoiseSchedule
from renma.families._base import Condition
from renma.train.objectives.denoise import Samples, timestep_weights
from renma.train.objectives.held_out import held_out_draws, held_out_loss, held_out_timesteps

SCHEDULE = NoiseSchedule.of(
    {
        "num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
    }
)  # fmt: skip
SHAPE = (4, 8, 6)
MOMENTS = [(torch.full(SHAPE, float(i)), torch.full(SHAPE, 0.5)) for i in range(3)]
DIGESTS = ["aa", "bb", "cc"]


def drawn(digests=DIGESTS, moments=MOMENTS, seed: int = 7, **options):
    return held_out_draws(moments, digests, seed, SCHEDULE, ObjectiveConfig(**options))


@pytest.mark.parametrize(
    ("limits", "expected"),
    [((0, 1000), (200, 400, 600, 800)), ((100, 600), (200, 300, 400, 500)), ((5, 7), (5, 6))],
)
def test_timesteps_are_equally_spaced_inside_the_trained_range(limits, expected):
    config = ObjectiveConfig(min_timestep=limits[0], max_timestep=limits[1])
    assert held_out_timesteps(SCHEDULE, config) == expected
    assert [
        d.timesteps.tolist() for d in drawn(min_timestep=limits[0], max_timestep=limits[1])
    ] == [[time] * 3 for time in expected]


def test_a_picture_has_its_own_noise_whatever_lies_beside_it():
    together = drawn()
    for index, digest in enumerate(DIGESTS):
        for one, whole in zip(drawn([digest], [MOMENTS[index]]), together, strict=True):
            assert torch.equal(one.noise[0], whole.noise[index])
            assert torch.equal(one.latents[0], whole.latents[index])


def test_pictures_timesteps_and_seeds_have_different_noise():
    noises = [row for d in (*drawn(), *drawn(seed=8)) for row in d.noise]
    assert len({row.flatten()[0].item() for row in noises}) == 2 * 4 * 3


class Zero:
    """A model that answers nothing, so that the loss is the mean square of the noise."""

    def predict(self, noisy, timesteps, condition):
        return torch.zeros_like(noisy).requires_grad_()


@pytest.mark.parametrize("options", [{}, {"min_snr_gamma": 5.0}])
def test_the_loss_is_the_mean_over_the_timesteps(options: dict[str, Any]):
    draws, family = drawn(**options), Zero()
    config = ObjectiveConfig(**options)
    given: Any = (family, SCHEDULE, draws, Condition(torch.zeros(3, 1, 1)))
    got = held_out_loss(*given, Samples(torch.tensor([1.0, 0.5, 1.0])), config, nullcontext)
    each = [d.noise.square().mean(dim=(1, 2, 3)) for d in draws]
    rates = [timestep_weights(SCHEDULE, d.timesteps, config) for d in draws]
    total = sum(e * r for e, r in zip(each, rates, strict=True))
    torch.testing.assert_close(got, total / 4 * torch.tensor([1.0, 0.5, 1.0]))
    assert not got.requires_grad
