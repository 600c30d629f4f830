"""Keyed noise, its offset and its coarse layers, each against a computation written here."""

from __future__ import annotations

import pytest
import torch

from renma.core import keyed
from renma.diffusion.noise import layered, normal, offset, share

PLACE = (2, 5)


def drawn(shape: tuple[int, ...], *key: int | str) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(keyed.key(7, *map(str, key))))


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


def test_shares_are_uniform():
    shares = torch.tensor([share(1, "strength", 0, i) for i in range(2000)])
    assert shares.min() >= 0
    assert shares.max() < 1
    assert abs(shares.mean() - 0.5) < 0.02
    assert abs(shares.std() - 12**-0.5) < 0.02


@pytest.mark.parametrize("adaptive", [0.0, 0.2, -0.05])
def test_the_offset_follows_each_channels_mean(adaptive):
    """strength + adaptive * |mean of the channel|, not below 0, times one number a channel."""
    latents = torch.stack([torch.full((3, 5), mean) for mean in (0.0, 1.0, -2.0, 4.0)])
    got = offset(latents, 0.1, adaptive, 7, PLACE)
    numbers = drawn((4, 1, 1), "noise offset", *PLACE)
    strengths = [max(0.0, 0.1 + adaptive * size) for size in (0, 1, 2, 4)]
    expected = numbers * torch.tensor(strengths).view(4, 1, 1)
    torch.testing.assert_close(got, expected)


def enlarged(picture: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Bilinear enlargement with pixel centres, written out (torch's align_corners=False)."""

    def weights(size: int, wanted: int) -> torch.Tensor:
        matrix = torch.zeros(wanted, size, dtype=torch.float64)
        for row in range(wanted):
            at = min(max((row + 0.5) * size / wanted - 0.5, 0), size - 1)
            low = int(at)
            high = min(low + 1, size - 1)
            matrix[row, low] += 1 - (at - low)
            matrix[row, high] += at - low
        return matrix

    rows, columns = weights(picture.shape[1], height), weights(picture.shape[2], width)
    return torch.einsum("yi,cij,xj->cyx", rows, picture.double(), columns)


@pytest.mark.parametrize(("iterations", "discount"), [(1, 0.3), (2, 0.8), (10, 0.5)])
def test_layered_noise_is_the_sum_of_enlarged_layers_over_its_deviation(iterations, discount):
    base = drawn((4, 24, 40), "noise", *PLACE)
    got = layered(base, iterations, discount, 7, PLACE)
    total, layers = base.double(), 0
    for i in range(iterations):
        factor = (2 + 2 * keyed.rng(7, "multires size", *PLACE, i).random()) ** i
        height, width = max(1, int(24 / factor)), max(1, int(40 / factor))
        noise = drawn((1, 4, height, width), "multires noise", *PLACE, i)[0]
        total = total + discount**i * enlarged(noise, 24, 40)
        layers += 1
        if height == 1 or width == 1:
            break
    assert iterations < 10 or layers < 8  # the rest would be smaller than one latent
    torch.testing.assert_close(got.double(), total / total.std(), rtol=1e-4, atol=1e-5)
    assert float(got.std()) == pytest.approx(1, abs=1e-5)


def test_layers_make_the_noise_coarser():
    """Neighbouring latents of plain noise have nothing in common; of layered noise they do."""
    base = drawn((4, 64, 64), "noise", *PLACE)
    coarse = layered(base, 8, 0.8, 7, PLACE)

    def likeness(noise: torch.Tensor) -> float:
        return float((noise[:, :, 1:] * noise[:, :, :-1]).mean())

    assert abs(likeness(base)) < 0.03
    assert likeness(coarse) > 0.2
