"""Frozen weights in 8 and 4 bits: how wrong, how large, and under every adapter (E7)."""

from __future__ import annotations

import copy
import gc
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from renma import adapters, assets
from renma.adapters._base import LayerSpec
from renma.config.adapter import (
    IA3,
    AdapterSection,
    DyLora,
    GLora,
    LoHa,
    LoKr,
    Lora,
    LoraFA,
    Mora,
    Oft,
)  # fmt: skip
from renma.config.model import ModelConfig
from renma.config.run_tasks import TrainOptions
from renma.core.events import Silent, read_events
from renma.engine.model import load_family
from renma.engine.network import Network
from renma.engine.quantize import QuantizedConv2d, QuantizedLinear, Storage, quantize
from renma.train import task

STORAGES: tuple[Storage, ...] = ("fp8", "int8", "nf4", "fp4")
every = pytest.mark.parametrize("storage", STORAGES)
# arXiv 2305.14314, appendix E
NF4 = torch.tensor(
    [-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
     -0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725,
     0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941,
     0.7229568362236023, 1.0]
)  # fmt: skip


def float_layer(inputs: int = 256, outputs: int = 256, bias: bool = True, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    return nn.Linear(inputs, outputs, bias=bias).requires_grad_(False)


def pair(storage: Storage, **options) -> tuple[QuantizedLinear, Any]:
    """A quantised layer, and a float one with the very weight that it computes back."""
    layer = float_layer(**options)
    quantized = QuantizedLinear(layer, storage)
    twin = copy.deepcopy(layer)
    twin.weight.data = quantized.dequantized(torch.float32)
    return quantized, twin


def test_nf4_is_the_nearest_of_the_papers_sixteen_numbers():
    layer = float_layer()
    blocks = layer.weight.reshape(-1, 64)
    largest = blocks.abs().amax(1, keepdim=True)
    nearest = NF4[(blocks / largest)[..., None].sub(NF4).abs().argmin(-1)] * largest
    got = QuantizedLinear(layer, "nf4").dequantized(torch.float32).reshape(-1, 64)
    # the scale itself is stored in 8 bits
    assert ((got - nearest).abs() <= 0.01 * nearest.abs() + 1e-7).float().mean() > 0.999
    assert ((got - nearest).abs() / largest).max() < 0.16


# largest error in units of a block's largest number: half of the widest gap between codes; and
# the error of all of it (Frobenius) for normally distributed weights
BOUNDS = {
    "fp8": (256, 1 / 28, 0.03),
    "int8": (256, 0.0075, 0.015),
    "nf4": (64, 0.16, 0.1),
    "fp4": (64, 0.175, 0.14),
}


@every
@pytest.mark.parametrize("scale", [1.0, 1e-4])
def test_error_is_bounded(storage, scale):
    layer = float_layer()
    layer.weight.data.normal_(std=scale)
    got = QuantizedLinear(layer, storage).dequantized(torch.float32)
    block, most, share = BOUNDS[storage]
    error = (got - layer.weight).reshape(-1, block)
    largest = layer.weight.reshape(-1, block).abs().amax(1, keepdim=True)
    assert (error.abs() / largest).max() <= most
    relative = (error.norm() / layer.weight.norm()).item()
    assert share / 3 < relative < share
    assert abs(error.mean()) < 4 * error.std() / error.numel() ** 0.5 + 0.01 * scale


@every
def test_bytes_of_a_weight(storage):
    layer = float_layer(512, 512)
    quantized = QuantizedLinear(layer, storage)
    each = quantized.stored_bytes() / layer.weight.numel()
    expected = {"fp8": 1 + 4 / 512, "int8": 1 + 4 / 256}.get(storage, 0.5159)
    assert each == pytest.approx(expected, abs=1e-4)
    held = [t for t in (*quantized.parameters(), *quantized.buffers()) if t is not quantized.bias]
    assert sum(t.numel() * t.element_size() for t in held) <= quantized.stored_bytes()


@every
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_output_and_gradient_are_those_of_the_weight_computed_back(storage, bias, dtype):
    quantized, twin = pair(storage, bias=bias, inputs=96, outputs=64)
    twin = twin.to(dtype)
    x = torch.randn(2, 7, 96).to(dtype)
    grads, outputs = [], []
    for layer in (quantized, twin):
        leaf = x.clone().requires_grad_()
        y = layer(leaf)
        y.backward(torch.ones_like(y))
        grads.append(leaf.grad)
        outputs.append(y.detach())
    assert outputs[0].dtype == dtype
    limit = 1e-5 if dtype == torch.float32 else 2e-2
    torch.testing.assert_close(outputs[0], outputs[1], rtol=limit, atol=limit)
    torch.testing.assert_close(grads[0], grads[1], rtol=limit, atol=limit)


RANKED: dict[str, Any] = {"rank": 4, "alpha": 2.0}
ADAPTERS: dict[str, AdapterSection] = {
    "lora": Lora(**RANKED),
    "lora pissa": Lora(**RANKED, start="pissa"),
    "lora_fa": LoraFA(**RANKED),
    "dora output": Lora(**RANKED, dora="output"),
    "dora input": Lora(**RANKED, dora="input"),
    "dora norm gradient": Lora(**RANKED, dora="output", dora_norm_gradient=True),
    "loha": LoHa(**RANKED),
    "loha dora": LoHa(**RANKED, dora="output"),
    "lokr": LoKr(rank=2, alpha=1),
    "lokr dora": LoKr(rank=2, alpha=1, dora="input"),
    "ia3": IA3(),
    "ia3 input": IA3(on_input=True),
    "dylora": DyLora(**RANKED, unit=2),
    "mora": Mora(rank=2),
    "mora sharing": Mora(rank=2, kind="sharing"),
    "glora": GLora(**RANKED),
    "oft": Oft(rank=4),
}


def moved(config: AdapterSection, weight: torch.Tensor) -> Any:
    spec = LayerSpec("linear", weight.shape[1], weight.shape[0])
    adapter: Any = adapters.build(spec, config, torch.Generator().manual_seed(1))
    adapter.start(weight)
    generator = torch.Generator().manual_seed(2)
    for parameter in adapter.parameters():
        parameter.data += torch.randn(parameter.shape, generator=generator) * 0.1
    return adapter


@every
@pytest.mark.parametrize("name", ADAPTERS)
def test_adapters_as_on_the_float_layer(storage, name):
    """Few and many tokens, a strength for all and one for each row; outputs and all gradients."""
    quantized, twin = pair(storage, inputs=96, outputs=64, seed=3)
    adapter = moved(ADAPTERS[name], twin.weight)
    for tokens, strength in ((2, 1.0), (90, 1.0), (5, -0.5), (5, torch.tensor([0.0, 0.7]))):
        x = torch.randn(2, tokens, 96, generator=torch.Generator().manual_seed(tokens))
        runs = []
        for layer in (quantized, twin):
            leaf = x.clone().requires_grad_()
            adapter.zero_grad()
            y = adapter.run(leaf, layer.forward, layer, strength)
            (y * y.detach()).sum().backward()
            own = {n: p.grad for n, p in adapter.named_parameters() if p.requires_grad}
            runs.append({"y": y.detach(), "x": leaf.grad, **own})
        ours, expected = runs
        assert not torch.equal(expected["y"], twin(x))
        for key, tensor in expected.items():
            limit = 1e-4 * (tensor.abs().max().item() + 1e-3)
            assert (ours[key] - tensor).abs().max() <= limit, f"{key}, {tokens} tokens"


@pytest.mark.parametrize("name", ["alone", *ADAPTERS])
def test_no_float_weight_outlives_the_forward_pass(name, monkeypatch):
    """Neither kept for the backward pass nor by anything else, though that pass still comes."""
    layer = float_layer(96, 64)
    original = weakref.ref(layer.weight)
    quantized = QuantizedLinear(layer, "nf4")
    adapter = moved(ADAPTERS[name], layer.weight) if name in ADAPTERS else None
    del layer
    gc.collect()  # what refers to itself goes only now
    assert original() is None
    known, restore = [], quantized.dequantized

    def watched(dtype):
        weight = restore(dtype)
        known.append(weakref.ref(weight))
        return weight

    monkeypatch.setattr(quantized, "dequantized", watched)
    kept: list[torch.Tensor] = []
    weight = restore(torch.float32)

    def keep(tensor):
        kept.append(tensor.detach().clone())
        return tensor

    x = torch.randn(2, 5, 96, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        y = quantized(x) if adapter is None else adapter.run(x, quantized.forward, quantized)
    assert known
    assert [ref() for ref in known] == [None] * len(known)
    same = [
        t for t in kept if t.shape in {weight.shape, weight.t().shape} and t.is_floating_point()
    ]
    for tensor in same:
        other = weight if tensor.shape == weight.shape else weight.t()
        assert not torch.allclose(tensor, other, atol=1e-2)
    y.sum().backward()
    assert [ref() for ref in known] == [None] * len(known)


def test_model_keeps_names_and_forgets_float_weights():
    family = load_family(ModelConfig(), device="cpu")
    unet = family.parts()["unet"]
    inside = {n: m for n, m in unet.named_modules() if ".transformer_blocks." in n}
    linear = {n: m for n, m in inside.items() if isinstance(m, nn.Linear)}
    known = [weakref.ref(m.weight) for m in linear.values()]
    names = {n: type(m) for n, m in unet.named_modules()}
    del inside
    assert quantize(unet, "nf4") == len(linear) == len(known) > 0
    linear.clear()
    gc.collect()
    assert all(ref() is None for ref in known)
    after = {n: type(m) for n, m in unet.named_modules()}
    assert after.keys() == names.keys()
    changed = {n for n, kind in after.items() if kind is not names[n]}
    assert len(changed) == len(known)
    assert all(issubclass(after[n], nn.Linear) for n in changed)


def test_quantised_mame_trains_and_its_lora_serves_the_float_model(mame, tmp_path: Path):
    """Three steps on the sample character; the same draws on the float model give a near loss."""
    (tmp_path / "run.toml").write_text(
        f'data.train_folder = "{(assets.SAMPLES / "character" / "train").as_posix()}"\n'
        "data.resolution = 64\ndata.batch_size = 2\nadapter.rank = 2\noptimizer.learning_rate = 2e-3\n"
        "train.max_steps = 3\ntrain.threads = 1\ntrain.tensorboard = false\n"
    )
    losses = {}
    for storage in ("none", "nf4"):
        out = tmp_path / storage
        values = (f"model.quantize={storage}",)
        task.run(TrainOptions(run=tmp_path / "run.toml", set=values, out=out), Silent())
        rows = read_events(out / "events.jsonl")
        losses[storage] = [row["loss"] for row in rows if row["kind"] == "step"]
    assert len(losses["nf4"]) == 3
    assert losses["nf4"] != losses["none"]
    assert losses["nf4"] == pytest.approx(losses["none"], rel=0.2)
    network = Network.from_file(mame, tmp_path / "nf4" / "lora" / "lora.safetensors")
    assert len(network.members) == 138
    x, times = torch.randn(1, 4, 8, 8), torch.tensor([400])
    with torch.no_grad():
        states = mame.encode_text(["smile"]).states
        before = mame.unet(x, times, states).sample
        with network.at():
            after = mame.unet(x, times, states).sample
    assert after.isfinite().all()
    assert 0 < (after - before).abs().max() < 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_fp8_keeps_rows_of_tiny_weights_in_half_precision(dtype):
    """A scale of 1e-8 is 0 in float16, and the whole row would be."""
    layer = float_layer(96, 64)
    layer.weight.data[4] *= 1e-3 / layer.weight.data[4].abs().max()
    layer.weight.data[5] *= 3e-5 / layer.weight.data[5].abs().max()
    got = QuantizedLinear(layer, "fp8").dequantized(dtype).float()
    for row in (4, 5):
        expected = layer.weight[row].to(dtype).float()
        assert (got[row] - expected).norm() < 0.04 * expected.norm()


def test_fp8_is_torchs_cast_of_a_scaled_row():
    layer = float_layer(96, 64)
    layer.weight.data[3] = 0
    layer.weight.data[4] *= 1e-6  # a cast without scale would lose this row
    got = QuantizedLinear(layer, "fp8").dequantized(torch.float32)
    for row, ours in zip(layer.weight, got, strict=True):
        scale = row.abs().max().clamp_min(1e-30) / 448
        expected = (row / scale).to(torch.float8_e4m3fn).float() * scale
        torch.testing.assert_close(ours, expected, rtol=1e-6, atol=0)
    assert not got[3].any()
    assert (got[4] - layer.weight[4]).norm() < 0.03 * layer.weight[4].norm()


CONVOLUTIONS: dict[str, dict[str, Any]] = {
    "3x3": {"padding": 1},
    "stride": {"padding": 1, "stride": 2, "bias": False},
    "dilated groups": {"padding": 2, "dilation": 2, "groups": 4},
}


@every
@pytest.mark.parametrize("name", CONVOLUTIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_convolution_is_that_of_the_weight_computed_back(storage, name, dtype):
    torch.manual_seed(0)
    layer: Any = nn.Conv2d(16, 32, 3, **CONVOLUTIONS[name]).requires_grad_(False)
    quantized = QuantizedConv2d(layer, storage)
    twin = copy.deepcopy(layer)
    twin.weight.data = quantized.dequantized(torch.float32)
    assert not torch.equal(twin.weight, layer.weight)
    x = torch.randn(2, 16, 7, 6)
    runs = []
    for module in (quantized, twin):
        leaf = x.to(dtype).requires_grad_()
        y = module.to(dtype)(leaf)
        y.backward(torch.ones_like(y))
        runs.append((y.detach(), leaf.grad))
    limit = 1e-5 if dtype == torch.float32 else 2e-2
    for got, expected in zip(*runs, strict=True):
        torch.testing.assert_close(got, expected, rtol=limit, atol=limit)


ON_CONVOLUTIONS = {n: c for n, c in ADAPTERS.items() if n not in {"lora pissa", "ia3 input"}}


@pytest.mark.parametrize("name", ON_CONVOLUTIONS)
def test_adapters_on_fp8_convolutions_as_on_the_float_layer(name):
    torch.manual_seed(0)
    layer: Any = nn.Conv2d(16, 32, 3, padding=1).requires_grad_(False)
    quantized, twin = QuantizedConv2d(layer, "fp8"), copy.deepcopy(layer)
    twin.weight.data = quantized.dequantized(torch.float32)
    config, generator = ON_CONVOLUTIONS[name], torch.Generator().manual_seed(2)
    adapter: Any = adapters.build(LayerSpec.of(quantized), config, generator)
    adapter.start(twin.weight)
    for parameter in adapter.parameters():
        parameter.data += torch.randn(parameter.shape, generator=generator) * 0.1
    x = torch.randn(2, 16, 6, 5)
    for strength in (1.0, torch.tensor([0.0, 0.7])):
        runs = []
        for module in (quantized, twin):
            leaf = x.clone().requires_grad_()
            adapter.zero_grad()
            y = adapter.run(leaf, module.forward, module, strength)
            (y * y.detach()).sum().backward()
            own = {n: p.grad for n, p in adapter.named_parameters() if p.requires_grad}
            runs.append({"y": y.detach(), "x": leaf.grad, **own})
        for key, expected in runs[1].items():
            torch.testing.assert_close(runs[0][key], expected, rtol=2e-4, atol=2e-4, msg=key)


def test_fp8_takes_convolutions_too_but_not_the_ends(mame):
    unet = copy.deepcopy(mame.unet)
    before = {n: m for n, m in unet.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)}
    count = quantize(unet, "fp8")
    left = {n for n in before if isinstance(before[n], type(unet.get_submodule(n)))}
    assert left == {"conv_in", "conv_out", "time_embedding.linear_1", "time_embedding.linear_2"}
    assert count == len(before) - len(left)
    few = sum(b.nbytes for b in unet.buffers())
    assert few > 0.95 * sum(m.weight.numel() for m in before.values() if hasattr(m, "weight"))
    x, states = torch.randn(1, 4, 8, 8), torch.randn(1, 77, 128)
    with torch.no_grad():
        exact, got = (
            u(x, torch.tensor([500]), states, return_dict=False)[0] for u in (mame.unet, unet)
        )
    assert 0 < (got - exact).norm() < 0.1 * exact.norm()


def test_text_encoder_in_few_bits_speaks_alike(mame):
    text = copy.deepcopy(mame.text_encoder)
    linear = sum(isinstance(m, nn.Linear) for m in text.modules())
    assert quantize(text, "int8") == linear > 0
    tokens = torch.tensor([[1, 5, 9, 2]])
    with torch.no_grad():
        exact, got = (m(tokens).last_hidden_state for m in (mame.text_encoder, text))
    assert 0 < (got - exact).norm() < 0.05 * exact.norm()
