"""Adapters beside the installed peft, both ways, on small random models.

Not compared, because PEFT 0.21.2 is wrong there: gradients of LoHa's Tucker form, convolutions
with dilation under LoRA, merging of grouped convolutions.
"""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

import renma
from renma import adapters
from renma.adapters._base import LayerSpec
from renma.config.adapter import IA3, AdapterSection, LoHa, LoKr, Lora, LoraFA
from renma.engine.network import Network
from renma.formats.diffusers_lora import named
from renma.formats.peft_names import canonical

peft = pytest.importorskip("peft")

LAYERS: dict[str, Any] = {
    "linear": lambda: nn.Linear(12, 16),
    "bare": lambda: nn.Linear(16, 8, bias=False),
    "conv1": lambda: nn.Conv2d(8, 12, 1),
    "conv3": lambda: nn.Conv2d(12, 8, 3, padding=1),
    "strided": lambda: nn.Conv2d(8, 16, 3, stride=2, padding=1, bias=False),
}
TARGETS = {"target_modules": list(LAYERS)}
FACTORED = {"r": 3, **TARGETS}
CONFIGS = {
    "lora": (lambda: peft.LoraConfig(lora_alpha=2, **FACTORED), 2.0),
    "lora gaussian": (
        lambda: peft.LoraConfig(lora_alpha=5, init_lora_weights="gaussian", **FACTORED),
        5.0,
    ),
    "rslora": (lambda: peft.LoraConfig(lora_alpha=2, use_rslora=True, **FACTORED), 2.0 * 3**0.5),
    "dora": (lambda: peft.LoraConfig(lora_alpha=2, use_dora=True, **FACTORED), 2.0),
    "rsdora": (
        lambda: peft.LoraConfig(lora_alpha=2, use_dora=True, use_rslora=True, **FACTORED),
        2.0 * 3**0.5,
    ),
    "loha": (lambda: peft.LoHaConfig(alpha=2, **FACTORED), 2.0),
    "loha tucker": (lambda: peft.LoHaConfig(alpha=2, use_effective_conv2d=True, **FACTORED), 2.0),
    "lokr": (lambda: peft.LoKrConfig(r=1, alpha=2, **TARGETS), 2.0),
    "lokr both": (lambda: peft.LoKrConfig(r=1, alpha=2, decompose_both=True, **TARGETS), 2.0),
    "lokr factor": (lambda: peft.LoKrConfig(r=1, alpha=2, decompose_factor=2, **TARGETS), 2.0),
    "lokr unsorted": (lambda: peft.LoKrConfig(r=1, alpha=2, decompose_factor=8, **TARGETS), 2.0),
    "lokr whole": (lambda: peft.LoKrConfig(r=16, alpha=8, **TARGETS), 8.0),
    "lokr tucker": (
        lambda: peft.LoKrConfig(r=1, alpha=2, use_effective_conv2d=True, **TARGETS),
        2.0,
    ),
    "ia3": (lambda: peft.IA3Config(feedforward_modules=[], **TARGETS), None),
    "ia3 input": (lambda: peft.IA3Config(feedforward_modules=list(LAYERS), **TARGETS), None),
}
every = pytest.mark.parametrize("seed", range(3))
kinds = pytest.mark.parametrize("kind", CONFIGS)


def wrapped(kind: str, seed: int) -> Any:
    """PEFT's model with random numbers in every parameter."""
    torch.manual_seed(seed)
    model = nn.Module()
    for name, make in LAYERS.items():
        model.add_module(name, make())
    model = peft.get_peft_model(model, CONFIGS[kind][0]())
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            moved = torch.randn(parameter.shape) * 0.4
            if "magnitude" in name:  # lengths
                moved = parameter.data * (1 + moved.abs())
            parameter.data.copy_(moved + 1 if "ia3" in name else moved)
    return model


def sample(layer: Any, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    if isinstance(layer, nn.Linear):
        return torch.randn(2, 5, layer.in_features, generator=generator)
    return torch.randn(2, layer.in_channels, 6, 7, generator=generator)


def stored(model, path: str, kind: str, shape) -> dict[str, torch.Tensor]:
    """One layer of what PEFT saves, in the spelling of adapters; alpha is in its configuration."""
    start = f"base_model.model.{path}."
    rows = peft.get_peft_model_state_dict(model)
    found = {n: t.detach().clone() for n, t in rows.items() if n.startswith(start)}
    alpha = CONFIGS[kind][1]
    if alpha is not None:
        found |= {
            "alpha": torch.tensor(alpha),
            "rank": torch.tensor(model.peft_config["default"].r),
        }
    return canonical(found, shape)


def close(ours, theirs, rel: float = 2e-5, what: str = "") -> None:
    assert ours.shape == theirs.shape, what
    assert (ours - theirs).abs().max() <= rel * (theirs.abs().max() + 1), what


@every
@kinds
def test_forward_and_merge(kind, seed):
    model = wrapped(kind, seed)
    for path in LAYERS:
        wrapper = model.base_model.model.get_submodule(path)
        base, x = wrapper.base_layer, sample(wrapper.base_layer, seed)
        tensors = stored(model, path, kind, base.weight.shape)
        adapter = adapters.restore(LayerSpec.of(base), tensors)
        with torch.no_grad():
            theirs = wrapper(x)
            assert (theirs - base(x)).abs().max() > 1e-4
            close(adapter.run(x, base.forward, base), theirs, what=path)
            ours = renma.merged_weight(base.weight, base.bias, tensors)
            close(adapter.spec.apply(x, *ours), theirs, what=path)
            wrapper.merge()
            close(ours[0], base.weight, what=path)
            if base.bias is not None:
                close(ours[1], base.bias, what=path)


@every
@pytest.mark.parametrize("kind", [k for k in CONFIGS if k != "lokr tucker"])
def test_gradients(kind, seed):
    """Files before and after one step of plain descent differ by the gradient; also that of x."""
    model = wrapped(kind, seed)
    for path in LAYERS:
        wrapper = model.base_model.model.get_submodule(path)
        base, x = wrapper.base_layer, sample(wrapper.base_layer, seed)
        shape = base.weight.shape
        before = stored(model, path, kind, shape)
        adapter = adapters.restore(LayerSpec.of(base), before).requires_grad_()
        upstream, grads = None, []
        for function in (wrapper, lambda x, a=adapter, b=base: a.run(x, b.forward, b)):
            leaf = x.clone().requires_grad_()
            y = function(leaf)
            if upstream is None:
                upstream = torch.randn(y.shape, generator=torch.Generator().manual_seed(seed))
            (y * upstream).sum().backward()
            grads.append(leaf.grad)
        close(grads[1], grads[0], what=path)
        trained = [p for p in wrapper.parameters() if p.requires_grad]
        with torch.no_grad():
            for parameter in (*trained, *adapter.parameters()):
                assert parameter.grad is not None
                parameter -= parameter.grad
        ours, theirs = adapter.tensors(), stored(model, path, kind, shape)
        checked = 0
        for name in theirs.keys() - {"alpha", "on_input", "bias_scaled"}:
            if kind == "loha tucker" and name in {"hada_w1_a", "hada_w2_a"}:
                continue  # wrong in PEFT
            moved, scale = theirs[name] - before[name], 1.0
            if name == "lokr_w1" and "lokr_w2" in theirs:
                scale = (CONFIGS[kind][1] / model.peft_config["default"].r) ** 2
                # the scale was multiplied into w1: its own gradient is smaller, its step larger
            assert moved.abs().max() > 0, name
            close((ours[name] - before[name]) * scale, moved, 1e-4, f"{path} {name}")
            checked += 1
        assert checked


OURS: dict[str, tuple[AdapterSection, Any]] = {
    "lora": (Lora(rank=3, alpha=2), lambda: peft.LoraConfig(lora_alpha=2, **FACTORED)),
    "lora_fa": (LoraFA(rank=3, alpha=2), lambda: peft.LoraConfig(lora_alpha=2, **FACTORED)),
    "rslora": (
        Lora(rank=3, alpha=2, rank_stabilized=True),
        lambda: peft.LoraConfig(lora_alpha=2, use_rslora=True, **FACTORED),
    ),
    "dora": (
        Lora(rank=3, alpha=2, dora="output"),
        lambda: peft.LoraConfig(lora_alpha=2, use_dora=True, **FACTORED),
    ),
    "pissa": (
        Lora(rank=3, alpha=4, start="pissa"),  # the file holds twice the rank, at the same scale
        lambda: peft.LoraConfig(**FACTORED | {"r": 6, "lora_alpha": 8}),
    ),
    "loha": (LoHa(rank=3, alpha=2), lambda: peft.LoHaConfig(alpha=2, **FACTORED)),
    "loha tucker": (
        LoHa(rank=3, alpha=2, tucker=True),
        lambda: peft.LoHaConfig(alpha=2, use_effective_conv2d=True, **FACTORED),
    ),
    "lokr": (LoKr(rank=1, alpha=2), lambda: peft.LoKrConfig(r=1, alpha=2, **TARGETS)),
    "lokr whole": (
        LoKr(full_matrix=True),
        lambda: peft.LoKrConfig(r=16, alpha=16, **TARGETS),
    ),
    "ia3": (IA3(), lambda: peft.IA3Config(feedforward_modules=[], **TARGETS)),
    "ia3 input": (
        IA3(on_input=True),
        lambda: peft.IA3Config(feedforward_modules=list(LAYERS), **TARGETS),
    ),
}


@pytest.mark.parametrize("kind", OURS)
def test_peft_loads_what_we_save(kind):
    config, theirs = OURS[kind]
    torch.manual_seed(7)
    built = {name: make() for name, make in LAYERS.items()}
    if kind == "ia3 input":  # PEFT's form of a convolution does not tell inputs from outputs
        built = {name: layer for name, layer in built.items() if isinstance(layer, nn.Linear)}
    plain = nn.ModuleDict(built).requires_grad_(False)
    model = peft.get_peft_model(copy.deepcopy(plain), theirs())
    ours, rows = {}, {}
    for path, layer in plain.items():
        adapter: Any = adapters.build(LayerSpec.of(layer), config, torch.Generator().manual_seed(1))
        adapter.start(layer.weight)
        for parameter in adapter.parameters():
            parameter.data += torch.randn(parameter.shape) * 0.3
        ours[path] = adapter
        rows |= {f"base_model.model.{path}.{n}": t for n, t in spelled(adapter.tensors()).items()}
    expected = peft.get_peft_model_state_dict(model)
    rows = {name: tensor for name, tensor in rows.items() if not name.endswith(".alpha")}
    # ours is wider for (IA)3 so that no bits are lost beside the one
    assert {n: t.shape for n, t in rows.items()} == {n: t.shape for n, t in expected.items()}
    told = peft.set_peft_model_state_dict(model, rows)
    assert not told.unexpected_keys
    for path, layer in plain.items():
        x = sample(layer, 3)
        with torch.no_grad():
            wrapper = model.base_model.model.get_submodule(path)
            close(wrapper(x), ours[path].run(x, layer.forward, layer), what=path)


def spelled(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """One layer's file tensors as renma writes them for diffusers and PEFT."""
    key = "unet.mid_block.attentions.0.proj_in."
    rows, _ = named({"lora_unet_mid_block_attentions_0_proj_in": tensors}, {})
    return {name.removeprefix(key): tensor for name, tensor in rows.items()}


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.AdamW])
@pytest.mark.parametrize("alpha", [2.0, 6.0])
@pytest.mark.parametrize("start", ["pissa", "olora"])
def test_starts_from_the_weight_train_alike(start, alpha, optimizer):
    """PEFT takes the start out of the base; here it is subtracted: equal after every step."""
    torch.manual_seed(0)
    layer = nn.Linear(10, 14).requires_grad_(False)
    model = nn.ModuleDict({"linear": copy.deepcopy(layer)})
    config = peft.LoraConfig(
        r=3, lora_alpha=alpha, target_modules=["linear"], init_lora_weights=start
    )
    theirs: Any = peft.get_peft_model(model, config).base_model.model.get_submodule("linear")
    ours: Any = adapters.build(
        LayerSpec.of(layer), Lora(rank=3, alpha=alpha, start=start), torch.Generator()
    )
    ours.start(layer.weight)
    assert not torch.allclose(theirs.base_layer.weight, layer.weight)
    x, goal = torch.randn(20, 10), torch.randn(20, 14)
    runs: list[tuple[Any, Any]] = [
        (lambda: theirs(x), [p for p in theirs.parameters() if p.requires_grad]),
        (lambda: ours.run(x, layer.forward, layer), list(ours.parameters())),
    ]
    outputs = []
    for run, parameters in runs:
        assert len(parameters) == 2
        steps = optimizer(parameters, lr=0.02)
        outputs.append([])
        for _ in range(8):
            y = run()
            (y - goal).square().mean().backward()
            steps.step()
            steps.zero_grad()
            outputs[-1].append(y.detach())
    first, last = outputs[0][0], outputs[0][-1]
    close(first, layer(x))
    assert (last - first).abs().max() > 1e-2
    for step, (a, b) in enumerate(zip(*outputs, strict=True)):
        close(b, a, 1e-4, f"step {step}")
    merged, _ = renma.merged_weight(layer.weight, None, ours.tensors())
    close(merged, theirs.base_layer.weight + theirs.get_delta_weight("default"), 1e-4)


@pytest.mark.parametrize("dora", [False, True])
def test_loraplus_groups(mame, dora):
    """A at the rate, B at ratio times it; DoRA's magnitudes go with B in PEFT if they are 1-D."""
    from peft.optimizers import create_loraplus_optimizer

    names = ["to_q", "to_k", "to_v", "to_out.0", "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2"]
    config = peft.LoraConfig(r=3, target_modules=names, use_dora=dora)
    unet = copy.deepcopy(mame.unet)
    optimizer = create_loraplus_optimizer(
        peft.get_peft_model(unet, config), torch.optim.AdamW, lr=1.0, loraplus_lr_ratio=16
    )
    theirs: dict[float, int] = {}
    for group in optimizer.param_groups:
        count = sum(p.numel() for p in group["params"])
        theirs[group["lr"]] = theirs.get(group["lr"], 0) + count
    theirs = {rate: count for rate, count in theirs.items() if count}
    own = Lora(rank=3, lr_ratio=16, dora="output" if dora else "off")
    network = Network.fresh(mame, own, 0, ("unet",))
    ours = {g.factor: sum(p.numel() for p in g.parameters) for g in network.groups(own, "unet")}
    magnitudes = sum(
        magnitude.numel()
        for m in network.members.values()
        if m.adapter.spec.kind == "linear"  # (1, outputs, 1, 1) for convolutions
        and isinstance(magnitude := getattr(m.adapter, "magnitude", None), nn.Parameter)
    )
    assert ours == {16.0: theirs[16.0] - magnitudes, 1.0: theirs[1.0] + magnitudes}
