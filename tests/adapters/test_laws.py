"""Laws of design.md section 3 for every file in renma/adapters, over random layers."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import renma
from renma import adapters
from renma.adapters._base import LayerSpec
from renma.config.adapter import Full
from renma.core import registry
from renma.formats import safetensors
from testbed.random_layers import VARIANTS, every, fresh, layers, trained


def test_every_algorithm_has_its_laws_tested():
    assert {config.algo for config in VARIANTS.values()} == set(registry.names("renma.adapters"))


TOLERANCE = {torch.float64: 1e-9, torch.float32: 3e-5, torch.bfloat16: 6e-2}


@every
@settings(max_examples=10, deadline=None)
@given(case=layers())
def test_fresh_adapter_changes_nothing(variant, case):
    layer, x, seed = case
    adapter = fresh(variant, layer, seed)
    expected = layer(x)
    weight, bias = adapter.apply_weight(layer.weight, layer.bias)
    if "pissa" in variant or "olora" in variant:  # the start is subtracted: equal to rounding
        torch.testing.assert_close(adapter.run(x, layer.forward, layer), expected)
        torch.testing.assert_close(weight, layer.weight)
        return
    exact = "oft" not in variant and "dora" not in variant  # a rotation and a norm round
    run = adapter.run(x, layer.forward, layer)
    assert torch.equal(run, expected) if exact else torch.allclose(run, expected, atol=1e-6)
    assert torch.equal(weight, layer.weight) if exact else torch.allclose(weight, layer.weight)
    assert (bias is None) == (layer.bias is None) or "bias" in variant


@every
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@settings(max_examples=8, deadline=None)
@given(case=layers(), strength=st.sampled_from([0.0, 0.5, 1.0, -1.0]))
def test_run_equals_merged_weight(variant, dtype, case, strength):
    layer, x, seed = case
    layer, x = layer.to(dtype), x.to(dtype)
    # adapters keep at least float32 whatever the model's precision
    adapter = trained(variant, layer, seed, torch.promote_types(dtype, torch.float32))
    with torch.no_grad():
        y = adapter.run(x, layer.forward, layer, strength)
        # what is compared with is worked out without rounding in between
        wide = adapter.double() if dtype == torch.float64 else adapter.float()
        merged = wide.spec.apply(x.double(), *_wide_merge(wide, layer, strength))
    assert y.dtype == dtype
    scale = merged.abs().max().item() + 1
    if getattr(adapter, "magnitude", None) is not None:
        # a weight that its update nearly cancels is stretched, and its rounding with it
        whole = adapter.apply_weight(layer.weight.double(), None)[0]
        plain = layer.weight.double() + adapter.update(*adapter.parts()).reshape(whole.shape)
        scale *= max(1, (whole / plain).abs().max().item())
    assert (y - merged).abs().max().item() <= TOLERANCE[dtype] * scale
    if strength == 0:
        assert torch.equal(y, layer(x))
        assert adapter.apply_weight(layer.weight, layer.bias, 0.0)[0] is layer.weight


def _wide_merge(adapter, layer, strength):
    bias = None if layer.bias is None else layer.bias.double()
    weight, bias = adapter.apply_weight(layer.weight.double(), bias, strength)
    return weight.double(), None if bias is None else bias.double()


@every
@settings(max_examples=6, deadline=None)
@given(case=layers(), strength=st.sampled_from([0.3, -2.0]))
def test_strength_moves_the_weight_on_a_line(variant, case, strength):
    """W'(m) = W + m (W'(1) - W) for every algorithm, the multiplicative ones too."""
    layer, _, seed = case
    layer = layer.double()
    adapter = trained(variant, layer, seed, torch.float64)
    with torch.no_grad():
        whole, _ = adapter.apply_weight(layer.weight, layer.bias, 1.0)
        part, _ = adapter.apply_weight(layer.weight, layer.bias, strength)
    torch.testing.assert_close(part, layer.weight + strength * (whole - layer.weight))


@every
@settings(max_examples=6, deadline=None)
@given(case=layers())
def test_strength_per_row_equals_each_row_alone(variant, case):
    layer, x, seed = case
    adapter = trained(variant, layer, seed, torch.float32)
    with torch.no_grad():
        both = adapter.run(x, layer.forward, layer, torch.tensor([0.0, 0.7]))
        torch.testing.assert_close(both[0], layer(x)[0], rtol=1e-4, atol=1e-5)
        alone = adapter.run(x[1:], layer.forward, layer, 0.7)
    torch.testing.assert_close(both[1:], alone, rtol=1e-3, atol=1e-4)


@every
@settings(max_examples=6, deadline=None)
@given(case=layers(), strength=st.sampled_from([1.0, 0.5]))
def test_adapters_on_one_layer_add_up(variant, case, strength):
    """Each changes the base by its own difference, whatever stands between it and the layer."""
    layer, x, seed = case
    layer, x = layer.double(), x.double()
    first = trained("lora", layer, seed, torch.float64)
    second = trained(variant, layer, seed + 7, torch.float64)

    def inner(x):
        return first.run(x, layer.forward, layer)

    with torch.no_grad():
        own = second.run(x, layer.forward, layer, strength) - layer(x)
        both = second.run(x, inner, layer, strength)
    torch.testing.assert_close(both, inner(x) + own)


@every
@settings(max_examples=5, deadline=None)
@given(case=layers())
def test_gradients_are_right_and_reach_every_parameter(variant, case):
    layer, x, seed = case
    layer, x = layer.double(), x.double().requires_grad_()
    adapter = trained(variant, layer, seed, torch.float64)
    names = [name for name, p in adapter.named_parameters() if p.requires_grad]
    values = [p for p in adapter.parameters() if p.requires_grad]

    def function(x, *values):
        changed = {f"adapter.{n}": v for n, v in zip(names, values, strict=True)}
        return torch.func.functional_call(_Runner(adapter, layer), changed, (x,))

    copies = [v.detach().clone().requires_grad_() for v in values]
    assert torch.autograd.gradcheck(function, (x, *copies), fast_mode=True)
    torch.manual_seed(seed)
    y = adapter.run(x, layer.forward, layer)
    (y * torch.randn_like(y)).sum().backward()
    assert all(p.grad is not None for p in values)
    # a rotation of blocks of one channel, or a magnitude of a 1 x 1 weight, has nothing to learn
    assert sum(p.grad.abs().sum() > 0 for p in values) or "oft" in variant
    assert layer.weight.grad is None


class _Runner(nn.Module):
    def __init__(self, adapter, layer):
        super().__init__()
        self.adapter, self.layer = adapter, layer

    def forward(self, x):
        return self.adapter.run(x, self.layer.forward, self.layer)


@every
def test_every_parameter_learns(variant):
    """On an ordinary layer, each trained tensor gets a gradient that is not zero."""
    torch.manual_seed(0)
    for layer, x in (
        (nn.Linear(12, 8), torch.randn(4, 5, 12)),
        (nn.Conv2d(4, 8, 3, padding=1), torch.randn(2, 4, 6, 6)),
    ):
        adapter = trained(variant, layer.requires_grad_(False), 3, torch.float32)
        y = adapter.run(x, layer.forward, layer)
        (y * torch.randn_like(y)).sum().backward()
        learning = {n: p.grad for n, p in adapter.named_parameters() if p.requires_grad}
        assert learning
        assert all(grad is not None and grad.abs().sum() > 0 for grad in learning.values())


@every
@settings(max_examples=6, deadline=None)
@given(case=layers())
def test_save_load_save_is_byte_identical(variant, case):
    layer, x, seed = case
    adapter = trained(variant, layer, seed, torch.float32)
    tensors = adapter.tensors()
    copy = adapters.restore(LayerSpec.of(layer), tensors)
    assert safetensors.serialize(copy.tensors(), {}) == safetensors.serialize(tensors, {})
    with torch.no_grad():
        again = copy.run(x, layer.forward, layer)
        torch.testing.assert_close(again, adapter.run(x, layer.forward, layer))
    weight, _ = renma.merged_weight(layer.weight, layer.bias, tensors)
    torch.testing.assert_close(weight, adapter.apply_weight(layer.weight, layer.bias)[0])


@every
@settings(max_examples=6, deadline=None)
@given(case=layers())
def test_parameter_count_is_known_beforehand(variant, case):
    layer, _, seed = case
    adapter = fresh(variant, layer, seed)
    module = registry.load("renma.adapters", VARIANTS[variant].algo)
    counted = module.parameters(LayerSpec.of(layer), VARIANTS[variant])
    assert counted == sum(p.numel() for p in adapter.parameters() if p.requires_grad)


@every
@settings(max_examples=6, deadline=None)
@given(case=layers())
def test_low_rank_form_is_exact(variant, case):
    layer, _, seed = case
    layer = layer.double()
    adapter = trained(variant, layer, seed, torch.float64)
    form = adapter.low_rank()
    if form is None:
        assert "lora" not in variant or "dora" in variant or "glora" in variant
        return
    up, down = form
    with torch.no_grad():
        merged, _ = adapter.apply_weight(layer.weight, layer.bias)
    torch.testing.assert_close((up @ down).reshape(merged.shape), merged - layer.weight)


@every
@settings(max_examples=6, deadline=None)
@given(case=layers(), limit=st.sampled_from([0.1, 1.0, 1e6]))
def test_max_norm_shortens_and_never_lengthens(variant, case, limit):
    layer, _, seed = case
    layer = layer.double()
    adapter = trained(variant, layer, seed, torch.float64)

    def norm() -> float:
        plain = adapter.update(*adapter.parts()) if hasattr(adapter, "parts") else None
        return plain.norm().item() if plain is not None else 0.0

    before = norm()
    told = adapter.clamp_norm_(limit)
    if told is None:
        assert any(word in variant for word in ("ia3", "glora", "oft", "pissa", "olora"))
        assert norm() == before
        return
    assert told == pytest.approx(before, rel=1e-6, abs=1e-9)
    assert norm() == pytest.approx(min(before, limit), rel=1e-6, abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(case=layers(norms=True), strength=st.sampled_from([0.0, 0.5, -1.0]))
def test_norm_layers_train_weight_and_bias(case, strength):
    layer, x, seed = case
    adapter = adapters.build(LayerSpec.of(layer), Full(), torch.Generator())
    assert torch.equal(adapter.run(x, layer.forward, layer), layer(x))
    for parameter in adapter.parameters():
        parameter.data.normal_(generator=torch.Generator().manual_seed(seed))
    y = adapter.run(x, layer.forward, layer, strength)
    if LayerSpec.of(layer).is_norm:
        weight = layer.weight + strength * adapter.diff.flatten()
        bias = layer.bias + strength * adapter.diff_b
        assert set(adapter.tensors()) == {"w_norm", "b_norm"}
    else:
        weight = layer.weight + strength * adapter.diff.reshape(layer.weight.shape)
        moved = strength * adapter.diff_b
        bias = moved if layer.bias is None else layer.bias + moved
    torch.testing.assert_close(y, LayerSpec.of(layer).apply(x, weight, bias), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("variant", ["lora", "loha", "lokr", "mora-rotation", "lora-dora-output"])
def test_bias_difference_beside_another_algorithm(variant):
    """Some files hold diff_b beside a LoRA: both act."""
    torch.manual_seed(1)
    for layer, x in (
        (nn.Linear(12, 8), torch.randn(4, 5, 12)),
        (nn.Conv2d(4, 8, 3, padding=1, bias=False), torch.randn(2, 4, 6, 6)),
    ):
        layer.requires_grad_(False)
        tensors = trained(variant, layer, 3, torch.float32).tensors()
        plain, _ = renma.merged_weight(layer.weight, layer.bias, tensors, 0.5)
        extra = torch.randn(8)
        weight, bias = renma.merged_weight(
            layer.weight, layer.bias, {**tensors, "diff_b": extra}, 0.5
        )
        assert torch.equal(weight, plain)
        before = torch.zeros(8) if layer.bias is None else layer.bias
        torch.testing.assert_close(bias, before + 0.5 * extra)
        adapter = adapters.restore(LayerSpec.of(layer), {**tensors, "diff_b": extra})
        y = adapter.run(x, layer.forward, layer, 0.5)
        expected = adapter.spec.apply(x, weight, bias)
        torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-4)
        assert torch.equal(adapter.tensors()["diff_b"], extra)


def test_two_algorithms_for_one_layer_are_refused():
    weight = torch.randn(4, 4)
    mixed = {name: torch.randn(4, 2) for name in ("lora_up.weight", "hada_w1_a")}
    with pytest.raises(ValueError, match="loha and lora for one layer"):
        renma.merged_weight(weight, None, mixed)
