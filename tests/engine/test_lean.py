"""The lean step: same numbers, less kept, taken back without a trace (E7)."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from renma.adapters import _product
from renma.config.adapter import Full, LoHa, Lora
from renma.config.model import ModelConfig
from renma.config.targets import TargetConfig
from renma.engine import cpu_attention, frozen_conv, lean
from renma.engine.model import load_family
from renma.engine.network import Network

PIECES = ("recomputed", "convolutions", "products", "attention")
OFF: dict[str, Any] = dict.fromkeys(PIECES, False)
TURNED_ON: dict[str, dict[str, Any]] = {
    **{piece: OFF | {piece: True} for piece in PIECES},
    "packed": OFF | {"convolutions": True, "pack_mib": 1000},
    "all": {},
    "all packed": {"pack_mib": 1000},
}
EVERYWHERE = TargetConfig(preset="full", norms=True)
ADAPTERS = {
    "lora": Lora(rank=2, alpha=2),
    "lora on convolutions": Lora(rank=2, alpha=2, targets=TargetConfig(preset="conv")),
    "loha": LoHa(rank=2, alpha=2, targets=TargetConfig(preset="conv")),
    "dora": Lora(rank=2, alpha=2, dora="output", targets=TargetConfig(preset="conv")),
    "full": Full(targets=EVERYWHERE),
}


@pytest.fixture
def no_thresholds(monkeypatch):
    """Lets small layers take the ways of large ones."""
    monkeypatch.setattr(frozen_conv, "LEAST_WEIGHT", 0)
    monkeypatch.setattr(cpu_attention, "LEAST_SCORES", 0)
    monkeypatch.setattr(cpu_attention, "BLOCK", 200)  # several blocks, the last one shorter
    monkeypatch.setattr(_product, "LEAST_WORK", 0)
    monkeypatch.setattr(_product, "LEAST_ROWS", 0)


def network_on(family: Any, name: str) -> Network:
    """A network on the U-Net, moved away from its start."""
    network = Network.fresh(family, ADAPTERS[name], 0, ("unet",))
    generator = torch.Generator().manual_seed(1)
    for parameter in network.parameters("unet"):
        parameter.data += torch.randn(parameter.shape, generator=generator) * 0.02
    return network


def gradients(family: Any, network: Network, side: int = 16) -> tuple[torch.Tensor, torch.Tensor]:
    """Output and all gradients of one pass over two pictures."""
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(2, 4, side, side // 2, generator=generator)
    states = torch.randn(2, 77, 128, generator=generator)
    out = family.unet(x, torch.tensor([10, 700]), states, return_dict=False)[0]
    (out * torch.randn(out.shape, generator=generator)).sum().backward()
    parameters = network.parameters("unet")
    found = torch.cat([p.grad.flatten() for p in parameters if p.grad is not None])
    for parameter in parameters:
        parameter.grad = None
    return out.detach(), found


def difference(got: torch.Tensor, expected: torch.Tensor) -> float:
    return ((got - expected).norm() / expected.norm()).item()


@pytest.mark.parametrize("name", ADAPTERS)
def test_every_piece_gives_the_gradients_of_the_plain_step(mame, name, no_thresholds):
    network = network_on(mame, name)
    network.attach()
    try:
        output, expected = gradients(mame, network)
        assert expected.norm() > 0
        for chosen, options in TURNED_ON.items():
            done = lean.apply(mame.unet, **options)
            try:
                got = gradients(mame, network)
            finally:
                done.remove()
            assert difference(got[0], output) < 2e-5, chosen
            assert difference(got[1], expected) < 2e-5, chosen
        again = gradients(mame, network)
        assert torch.equal(again[0], output)
        assert torch.equal(again[1], expected)
    finally:
        network.detach()


@pytest.mark.parametrize("first", ["adapters", "lean"])
def test_order_of_attaching_does_not_matter_and_nothing_stays(mame, first, no_thresholds):
    modules = list(mame.unet.modules())
    before = [set(vars(module)) for module in modules]
    processors = [getattr(module, "processor", None) for module in modules]
    network = network_on(mame, "lora on convolutions")
    names = set(mame.unet.state_dict())
    if first == "adapters":
        network.attach()
        done = lean.apply(mame.unet)
    else:
        done = lean.apply(mame.unet)
        network.attach()
    assert set(mame.unet.state_dict()) == names
    assert done.facts()["recomputed_blocks"] > 0
    on = gradients(mame, network)
    network.detach()
    bare = lean.apply(mame.unet)  # a second time does no harm
    network.attach()
    assert all(map(torch.equal, gradients(mame, network), on))
    bare.remove()
    done.remove()
    network.detach()
    assert [set(vars(module)) for module in modules] == before
    assert [getattr(module, "processor", None) for module in modules] == processors


@pytest.mark.parametrize("turned_on", [{}, {"pack_mib": 1000}])
@pytest.mark.parametrize("name", ["lora on convolutions", "full"])
def test_checkpointing_gives_the_same_gradients_bit_by_bit(mame, turned_on, name, no_thresholds):
    network = network_on(mame, name)
    network.attach()
    done = lean.apply(mame.unet, **turned_on)
    try:
        plain = gradients(mame, network)
        mame.checkpoint_gradients(True)
        assert all(map(torch.equal, gradients(mame, network), plain))
    finally:
        mame.checkpoint_gradients(False)
        done.remove()
        network.detach()


def test_mixed_precision_is_that_of_the_plain_step(mame, no_thresholds):
    """Under torch's autocast every piece leaves the choice of precisions to torch."""
    network = network_on(mame, "lora on convolutions")
    network.attach()
    with torch.autocast("cpu", torch.bfloat16):
        output, expected = gradients(mame, network)
        done = lean.apply(mame.unet, pack_mib=1000)
        got = gradients(mame, network)
        done.remove()
    network.detach()
    assert got[0].dtype == output.dtype
    assert difference(got[0].float(), output.float()) < 5e-3
    assert difference(got[1], expected) < 1e-2


def kept_bytes(family: Any, network: Network) -> int:
    """Bytes of storages that the forward pass keeps for backward, weights aside."""
    weights = {p.untyped_storage().data_ptr() for p in family.unet.parameters()}
    weights |= {p.untyped_storage().data_ptr() for p in network.parameters("unet")}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if not tensor.is_mkldnn:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in weights:
                kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        gradients(family, network, side=32)
    return sum(kept.values())


def test_keeps_a_fifth_less_for_backward(mame):
    network = network_on(mame, "lora")
    network.attach()
    try:
        before = kept_bytes(mame, network)
        done = lean.apply(mame.unet)
        after = kept_bytes(mame, network)
        done.remove()
    finally:
        network.detach()
    assert after < 0.8 * before


def test_nothing_reaches_below_the_lowest_adapter():
    """No gradient to latents, nor through layers that only they reach; with checkpointing too."""
    mame = load_family(ModelConfig(), device="cpu")  # of its own: every weight must be frozen
    config = Lora(rank=2, targets=TargetConfig(only=("mid_block.*",)))
    network = Network.fresh(mame, config, 0, ("unet",))
    network.attach()
    done = lean.apply(mame.unet)
    try:
        for checkpointing in (False, True):
            mame.checkpoint_gradients(checkpointing)
            seen: list[bool] = []
            hook = (
                mame.unet.down_blocks[2]
                .resnets[0]
                .register_forward_hook(
                    lambda module, given, out, seen=seen: seen.append(out.requires_grad)
                )
            )
            _, found = gradients(mame, network)
            hook.remove()
            assert seen == [False]  # once: not computed a second time either
            assert found.norm() > 0
    finally:
        mame.checkpoint_gradients(False)
        done.remove()
        network.detach()


GEOMETRIES = {
    "plain": {"padding": 1},
    "stride": {"padding": 1, "stride": 2},
    "uneven": {"padding": (0, 1), "stride": (2, 1)},
    "dilated": {"padding": 2, "dilation": 2},
    "no bias": {"padding": 1, "bias": False},
    "grouped": {"padding": 1, "groups": 4},
    "1x1": {"kernel_size": 1},
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("name", GEOMETRIES)
def test_frozen_convolution_is_torchs(name, dtype, packed, no_thresholds):
    torch.manual_seed(0)
    layer: Any = nn.Conv2d(48, 256, **({"kernel_size": 3} | GEOMETRIES[name]))
    layer = layer.to(dtype).requires_grad_(False)
    plain = copy.deepcopy(layer)
    conv = frozen_conv.FrozenConv(layer, packed)
    vars(layer)["_conv_forward"] = conv
    for batch, height, width in ((1, 4, 5), (2, 5, 3), (1, 24, 24)):  # one packing serves all
        x = torch.randn(batch, 48, height, width).to(dtype)
        runs = []
        for module in (layer, plain):
            leaf = x.clone().requires_grad_()
            y = module(leaf)
            y.backward(torch.cos(torch.arange(y.numel()).reshape(y.shape)).to(dtype))
            runs.append((y.detach(), leaf.grad))
        limit = {torch.float32: 2e-6, torch.bfloat16: 6e-3, torch.float64: 1e-13}[dtype]
        for got, expected in zip(*runs, strict=True):
            assert got.shape == expected.shape
            assert got.dtype == dtype
            assert difference(got.double(), expected.double()) < limit
    if packed and name == "plain" and dtype == torch.float32:
        assert conv.forward_weight is not None
        assert conv.backward_weight is not None


def test_changed_weight_is_packed_anew(no_thresholds):
    layer: Any = nn.Conv2d(16, 64, 3, padding=1).requires_grad_(False)
    vars(layer)["_conv_forward"] = frozen_conv.FrozenConv(layer, packed=True)
    x = torch.randn(1, 16, 4, 4)
    layer(x)
    for change in ("in place", "another"):
        if change == "in place":
            layer.weight.mul_(-3)
        else:
            layer.weight = nn.Parameter(layer.weight * 0.5, requires_grad=False)
        expected = functional.conv2d(x, layer.weight, layer.bias, padding=1)
        assert difference(layer(x), expected) < 2e-6


def test_trained_weight_gets_its_gradient(no_thresholds):
    layer: Any = nn.Conv2d(16, 64, 3, padding=1)
    done = lean.apply(nn.ModuleDict({"conv": layer}), pack_mib=100)
    layer(torch.randn(1, 16, 4, 4)).sum().backward()
    assert layer.weight.grad is not None
    assert done.convolutions["conv"].forward_weight is None


def test_memory_of_packed_weights_is_bounded_and_told(no_thresholds):
    """Largest weights first, two copies each, one of a strided layer."""
    model = nn.ModuleDict(
        {
            "large": nn.Conv2d(256, 256, 3),
            "strided": nn.Conv2d(128, 256, 3, stride=2),
            "small": nn.Conv2d(128, 128, 3),
        }
    ).requires_grad_(False)
    mib = {"large": 2 * 2.25, "strided": 1.125, "small": 2 * 0.5625}
    for budget, expected in {
        0: set(), 1: set(), 2: {"strided"}, 5: {"large"}, 6: {"large", "strided"}, 7: set(mib),
    }.items():  # fmt: skip
        done = lean.apply(model, pack_mib=budget)
        assert {path for path, conv in done.convolutions.items() if conv.packed} == expected
        assert done.packed_bytes == 2**20 * sum(mib[path] for path in expected)
        told = {"packed_convolutions": len(expected), "packed_bytes": done.packed_bytes}
        assert told.items() <= done.facts().items()
        done.remove()


def test_products_are_functional_linears(no_thresholds):
    torch.manual_seed(0)
    for shape, outputs in (((2, 5, 24), 16), ((7, 24), 40), ((1, 1, 24), 8)):
        x, weight, bias = torch.randn(shape), torch.randn(outputs, 24), torch.randn(outputs)
        for use_bias in (True, False):
            runs = []
            for function in (_product.linear, functional.linear):
                leaves = [t.clone().requires_grad_() for t in (x, weight, bias)]
                y = function(leaves[0], leaves[1], leaves[2] if use_bias else None)
                (y * y.detach()).sum().backward()
                runs.append([y.detach(), *[leaf.grad for leaf in leaves]])
            for got, expected in zip(*runs, strict=True):
                if expected is None:
                    assert got is None
                else:
                    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


def test_frozen_product_keeps_no_input():
    kept: list[torch.Size] = []
    x = torch.randn(1024, 64, requires_grad=True)
    weight = torch.randn(128, 64)
    with torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: (kept.append(tensor.shape), tensor)[1], lambda tensor: tensor
    ):
        _product.linear(x, weight)
    assert kept == [weight.shape]
