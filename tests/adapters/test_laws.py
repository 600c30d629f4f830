"""Laws of design.md section 3 for every file in renma/adapters, over random layers."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from renma import adapters
from renma.adapters._base import LayerSpec
from renma.config.adapter import Lora
from renma.core import registry
from renma.formats import safetensors

ALGORITHMS = registry.names("renma.adapters")
CONFIGS = {"lora": Lora}


@st.composite
def layers(draw):
    """A random frozen layer with an input for it."""
    seed = draw(st.integers(0, 10_000))
    torch.manual_seed(seed)
    bias = draw(st.booleans())
    if draw(st.booleans()):
        layer = nn.Linear(draw(st.integers(1, 9)), draw(st.integers(1, 9)), bias=bias)
        x = torch.randn(2, draw(st.integers(1, 4)), layer.in_features)
    else:
        groups = draw(st.sampled_from([1, 1, 2]))
        kernel = draw(st.sampled_from([(1, 1), (3, 3), (3, 1)]))
        layer = nn.Conv2d(
            groups * draw(st.integers(1, 4)),
            groups * draw(st.integers(1, 4)),
            kernel,
            stride=draw(st.sampled_from([1, 2])),
            padding=draw(st.sampled_from([0, 1])),
            dilation=draw(st.sampled_from([1, 2])),
            groups=groups,
            bias=bias,
        )
        x = torch.randn(2, layer.in_channels, 7, 8)
    return layer.requires_grad_(False), x, seed


def fresh(algo: str, layer: nn.Module, seed: int, rank: int = 3, alpha: float = 2.0):
    generator = torch.Generator().manual_seed(seed)
    return adapters.build(LayerSpec.of(layer), CONFIGS[algo](rank=rank, alpha=alpha), generator)


def trained(algo: str, layer: nn.Module, seed: int, dtype: torch.dtype):
    adapter = fresh(algo, layer, seed).to(dtype)
    generator = torch.Generator().manual_seed(seed + 1)
    for parameter in adapter.parameters():
        parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)
    return adapter


TOLERANCE = {torch.float64: 1e-10, torch.float32: 2e-5, torch.bfloat16: 6e-2}


@pytest.mark.parametrize("algo", ALGORITHMS)
@settings(max_examples=40, deadline=None)
@given(case=layers())
def test_fresh_adapter_changes_nothing(algo, case):
    layer, x, seed = case
    adapter = fresh(algo, layer, seed)
    assert torch.equal(adapter.run(x, layer.forward, layer), layer(x))
    weight, bias = adapter.apply_weight(layer.weight, layer.bias)
    assert torch.equal(weight, layer.weight)
    assert (bias is None) == (layer.bias is None)


@pytest.mark.parametrize("algo", ALGORITHMS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@settings(max_examples=40, deadline=None)
@given(case=layers(), strength=st.sampled_from([0.0, 0.5, 1.0, -1.0]))
def test_run_equals_merged_weight(algo, dtype, case, strength):
    layer, x, seed = case
    layer, x = layer.to(dtype), x.to(dtype)
    # adapters keep at least float32 whatever the model's precision
    adapter = trained(algo, layer, seed, torch.promote_types(dtype, torch.float32))
    with torch.no_grad():
        y = adapter.run(x, layer.forward, layer, strength)
        merged = adapter.spec.apply(x, *adapter.apply_weight(layer.weight, layer.bias, strength))
    assert y.dtype == dtype
    scale = merged.abs().max().item() + 1
    assert (y - merged).abs().max().item() <= TOLERANCE[dtype] * scale
    if strength == 0:
        assert torch.equal(y, layer(x))


@pytest.mark.parametrize("algo", ALGORITHMS)
@settings(max_examples=25, deadline=None)
@given(case=layers())
def test_strength_per_row_equals_each_row_alone(algo, case):
    layer, x, seed = case
    adapter = trained(algo, layer, seed, torch.float32)
    with torch.no_grad():
        both = adapter.run(x, layer.forward, layer, torch.tensor([0.0, 0.7]))
        assert torch.equal(both[0], layer(x)[0])
        alone = adapter.run(x[1:], layer.forward, layer, 0.7)
    torch.testing.assert_close(both[1:], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("algo", ALGORITHMS)
@settings(max_examples=15, deadline=None)
@given(case=layers())
def test_gradients_are_right_and_reach_every_parameter(algo, case):
    layer, x, seed = case
    layer, x = layer.double(), x.double().requires_grad_()
    adapter = trained(algo, layer, seed, torch.float64)
    names = [name for name, p in adapter.named_parameters() if p.requires_grad]
    values = [p for p in adapter.parameters() if p.requires_grad]

    def function(x, *values):
        with torch.no_grad():
            pass
        changed = dict(zip(names, values, strict=True))
        return torch.func.functional_call(
            _Runner(adapter, layer), {f"adapter.{n}": v for n, v in changed.items()}, (x,)
        )

    copies = [v.detach().clone().requires_grad_() for v in values]
    assert torch.autograd.gradcheck(function, (x, *copies), fast_mode=True)
    adapter.run(x, layer.forward, layer).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in values)
    assert layer.weight.grad is None


class _Runner(nn.Module):
    def __init__(self, adapter, layer):
        super().__init__()
        self.adapter, self.layer = adapter, layer

    def forward(self, x):
        return self.adapter.run(x, self.layer.forward, self.layer)


@pytest.mark.parametrize("algo", ALGORITHMS)
@settings(max_examples=25, deadline=None)
@given(case=layers())
def test_save_load_save_is_byte_identical(algo, case):
    layer, x, seed = case
    adapter = trained(algo, layer, seed, torch.float32)
    module = registry.load("renma.adapters", algo)
    tensors = adapter.tensors()
    copy = module.Adapter(LayerSpec.of(layer), module.config_of(tensors), torch.Generator())
    copy.load_tensors(tensors)
    assert safetensors.serialize(copy.tensors(), {}) == safetensors.serialize(tensors, {})
    with torch.no_grad():
        assert torch.equal(copy.run(x, layer.forward, layer), adapter.run(x, layer.forward, layer))


@pytest.mark.parametrize("algo", ALGORITHMS)
@settings(max_examples=25, deadline=None)
@given(case=layers(), rank=st.integers(1, 8))
def test_parameter_count_is_known_beforehand(algo, case, rank):
    layer, _, seed = case
    adapter = fresh(algo, layer, seed, rank)
    module = registry.load("renma.adapters", algo)
    counted = module.parameters(LayerSpec.of(layer), CONFIGS[algo](rank=rank))
    assert counted == sum(p.numel() for p in adapter.parameters() if p.requires_grad)
