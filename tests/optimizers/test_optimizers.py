"""Every optimizer: lowers a loss, resumes exactly, equals its reference."""

from __future__ import annotations

import io

import pytest
import torch

from renma import optimizers
from renma.config.optimizer import AdamW, AdamW8bit, Prodigy
from renma.core import registry
from renma.formats import state

CONFIGS = {
    "adamw": AdamW(learning_rate=0.05),
    "adamw8bit": AdamW8bit(learning_rate=0.05),
    "prodigy": Prodigy(),
}


def problem(seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    target = torch.randn(80, 60, generator=generator)
    return torch.nn.Parameter(torch.zeros(80, 60)), target


def train(optimizer, parameter, target, steps: int) -> list[float]:
    losses = []
    for _ in range(steps):
        loss = (parameter - target).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def test_every_file_is_tested():
    assert set(registry.names("renma.optimizers")) == set(CONFIGS)


@pytest.mark.parametrize("name", CONFIGS)
def test_lowers_the_loss(name):
    parameter, target = problem()
    optimizer = optimizers.build(
        [{"params": [parameter], "lr": CONFIGS[name].learning_rate}], CONFIGS[name]
    )
    losses = train(optimizer, parameter, target, 120)
    assert losses[-1] < 0.3 * losses[0]


@pytest.mark.parametrize("name", CONFIGS)
def test_saved_and_loaded_it_goes_on_bit_by_bit(name, tmp_path):
    config = CONFIGS[name]
    straight, target = problem()
    optimizer = optimizers.build([{"params": [straight], "lr": config.learning_rate}], config)
    train(optimizer, straight, target, 9)
    path = state.save(tmp_path, 9, {"w": straight.data, "o": state.to_cpu(optimizer.state_dict())})
    train(optimizer, straight, target, 9)

    tree = state.load(path)
    resumed = torch.nn.Parameter(tree["w"])
    again = optimizers.build([{"params": [resumed], "lr": config.learning_rate}], config)
    again.load_state_dict(tree["o"])
    train(again, resumed, target, 9)
    assert torch.equal(resumed, straight)


def test_adamw_is_torchs():
    config = AdamW(learning_rate=0.01, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.1)
    ours, target = problem()
    theirs, _ = problem()
    train(optimizers.build([{"params": [ours]}], config), ours, target, 10)
    reference = torch.optim.AdamW(
        [theirs], lr=0.01, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.1, foreach=False
    )
    train(reference, theirs, target, 10)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_adamw8bit_keeps_its_state_in_bytes():
    parameter, target = problem()
    optimizer = optimizers.build([{"params": [parameter]}], CONFIGS["adamw8bit"])
    train(optimizer, parameter, target, 2)
    kept = optimizer.state[parameter]
    assert kept["state1"].dtype == kept["state2"].dtype == torch.uint8
    buffer = io.BytesIO()
    torch.save(
        [v for v in kept.values() if isinstance(v, torch.Tensor) and v.numel() > 256], buffer
    )
    assert buffer.tell() < 3.5 * parameter.numel()  # AdamW needs 8 bytes a number
