"""A small set of LoRA-like tensors in two groups, with gradients that depend on the weights."""

from __future__ import annotations

import pytest
import torch

SHAPES = ((4, 80), (80, 4), (72, 64), (3, 40), (60, 3), (7,))
"""Factors of layers, one above bitsandbytes' 4096 numbers for 8-bit state, one vector (DoRA)."""


class Toy:
    """A linear problem: rows of ``inputs`` through two factors each, squared error."""

    def __init__(self, seed: int = 0, shapes=SHAPES) -> None:
        make = torch.Generator().manual_seed(seed)
        self.parameters = [
            torch.nn.Parameter(0.02 * torch.randn(s, generator=make) * (i % 2 == 0))
            for i, s in enumerate(shapes)
        ]
        aim = torch.Generator().manual_seed(77)
        self.targets = [0.1 * torch.randn(s, generator=aim) for s in shapes]

    def groups(self, rate: float) -> list[dict]:
        half = len(self.parameters) // 2
        unet, text = self.parameters[:half], self.parameters[half:]
        return [
            {"params": unet, "lr": rate, "name": "unet"},
            {"params": text, "lr": rate, "name": "text_encoder"},
        ]

    def loss(self) -> float:
        with torch.no_grad():
            pairs = zip(self.parameters, self.targets, strict=True)
            return sum((p - t).square().sum().item() for p, t in pairs)

    def train(self, optimizer, first: int, end: int, factor=lambda step: 1.0) -> None:
        """Steps ``first`` to ``end``; gradients are noisy, the noise is a function of the step."""
        rates = [group["lr"] for group in optimizer.param_groups]
        for step in range(first, end):
            noise = torch.Generator().manual_seed(1000 + step)
            for parameter, target in zip(self.parameters, self.targets, strict=True):
                shake = 0.05 * torch.randn(target.shape, generator=noise)
                parameter.grad = parameter.detach() - target + shake
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * factor(step)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate


@pytest.fixture(scope="session")
def toy() -> type[Toy]:
    """The problem's class."""
    torch.set_num_threads(1)
    return Toy
