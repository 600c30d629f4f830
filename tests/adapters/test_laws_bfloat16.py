"""What rounding must not take from any adapter in bfloat16."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from torch import nn

from testbed.random_layers import every, fresh, layers


@every
@settings(max_examples=6, deadline=None)
@given(case=layers())
def test_fresh_adapter_changes_nothing_in_bfloat16(variant, case):
    layer, x, seed = case
    layer, x = layer.bfloat16(), x.bfloat16()
    if "pissa" in variant or "olora" in variant:
        return  # their start is subtracted, which rounds
    adapter = fresh(variant, layer, seed)
    assert torch.equal(adapter.run(x, layer.forward, layer), layer(x))


@every
@pytest.mark.parametrize("kind", ["linear", "conv"])
def test_small_updates_are_not_rounded_away_in_bfloat16(variant, kind):
    """What training has done so far must be seen, though 1 + 0.003 is 1 in this precision.

    Outputs themselves are rounded, so the change is looked at over many of them, where rounding up
    and down cancel: its share of the exact change has to be near one.
    """
    torch.manual_seed(0)
    if kind == "linear":
        layer, x = nn.Linear(32, 64), torch.randn(4, 200, 32)
    else:
        layer, x = nn.Conv2d(8, 16, 3, padding=1), torch.randn(4, 8, 16, 16)
    layer, x = layer.requires_grad_(False).bfloat16(), x.bfloat16()
    adapter = fresh(variant, layer, 1)
    starts = {name: parameter.data.clone() for name, parameter in adapter.named_parameters()}
    spec, wide = adapter.spec, x.double()
    bias = layer.bias.double()
    plain = spec.apply(wide, layer.weight.double(), bias)
    for size in (0.003, 0.01, 0.03, 0.1, 0.3, 1.0):
        generator = torch.Generator().manual_seed(2)
        for name, parameter in adapter.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            length = starts[name].abs().mean() if name == "magnitude" else 1
            parameter.data = starts[name] + noise * size * length
        with torch.no_grad():
            exact = copy.deepcopy(adapter).double().apply_weight(layer.weight.double(), bias)
            true = spec.apply(wide, *exact) - plain
            seen = (adapter.run(x, layer.forward, layer) - layer(x)).double()
        if true.abs().mean() > 0.006 * plain.abs().mean():
            break
    assert true.abs().mean() < 0.1 * plain.abs().mean(), "no small update: nothing is tested"
    share = ((seen * true).sum() / true.square().sum()).item()
    assert share == pytest.approx(1, abs=0.15)
