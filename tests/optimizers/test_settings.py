"""Every option of an optimizer's section reaches the optimizer."""

from __future__ import annotations

import pytest
import torch

from renma import optimizers
from renma.config.optimizer import AdamW, AdamW8bit, Prodigy

GIVEN = {"betas": (0.7, 0.9), "weight_decay": 0.2}


def trained(config, build=None, steps: int = 80) -> torch.Tensor:
    """A small tensor after some steps; below 4096 numbers AdamW8bit keeps 32-bit state."""
    parameter = torch.nn.Parameter(torch.linspace(-1, 1, 60).view(6, 10))
    target = torch.randn(6, 10, generator=torch.Generator().manual_seed(0))
    groups = [{"params": [parameter], "lr": config.learning_rate}]
    optimizer = build(groups) if build else optimizers.build(groups, config)
    for _ in range(steps):
        (parameter - target).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    return parameter.detach()


@pytest.mark.parametrize("section", [AdamW, AdamW8bit])
def test_adamw_and_its_8_bit_form_are_torchs_with_the_same_options(section):
    config = section(learning_rate=0.02, eps=1e-3, **GIVEN)
    reference = trained(
        config, lambda g: torch.optim.AdamW(g, eps=1e-3, foreach=False, fused=False, **GIVEN)
    )
    torch.testing.assert_close(trained(config), reference, rtol=1e-4, atol=1e-5)


def test_prodigy_is_prodigyopts_with_the_same_options():
    from prodigyopt import Prodigy as Reference

    options = {"d_coef": 0.3, "safeguard_warmup": False, "use_bias_correction": False, **GIVEN}
    config = Prodigy(learning_rate=0.9, **options)
    reference = trained(config, lambda g: Reference(g, lr=0.9, decouple=True, **options))
    assert torch.equal(trained(config), reference)


CHANGES = [
    (AdamW(), {"betas": (0.5, 0.999)}), (AdamW(), {"betas": (0.9, 0.5)}),
    (AdamW(), {"eps": 1e-2}), (AdamW(), {"weight_decay": 1.0}), (AdamW(), {"learning_rate": 1e-3}),
    (AdamW8bit(), {"betas": (0.5, 0.999)}), (AdamW8bit(), {"betas": (0.9, 0.5)}),
    (AdamW8bit(), {"eps": 1e-2}), (AdamW8bit(), {"weight_decay": 1.0}),
    (Prodigy(), {"betas": (0.5, 0.999)}), (Prodigy(), {"d_coef": 0.5}),
    (Prodigy(), {"weight_decay": 1.0}), (Prodigy(), {"learning_rate": 0.5}),
    (Prodigy(), {"use_bias_correction": False}),
]  # fmt: skip


@pytest.mark.parametrize(("config", "change"), CHANGES, ids=lambda x: getattr(x, "name", x))
def test_no_option_is_without_effect(config, change):
    assert torch.equal(trained(config), trained(config))
    assert not torch.equal(trained(config), trained(config.model_copy(update=change)))
