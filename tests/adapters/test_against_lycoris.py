"""Adapters beside the modules of the installed lycoris-lora, both ways, on random layers.

Not compared, because LyCORIS 4.1.3 contradicts itself there: merged weights of LoHa and LoKr with
alpha other than the rank (its merge scales twice), DoRA, BOFT and rescaled OFT at other strengths
than 1 (strength 0 does not give the base back), (IA)3's bias in bypass mode.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

import renma
from renma import adapters
from renma.adapters._base import LayerSpec
from renma.config.adapter import DyLora, Full, GLora, LoHa, LoKr, Lora, LoraFA, Oft

lycoris = pytest.importorskip("lycoris.modules")

RANKED = {"lora_dim": 3, "alpha": 2.0}
DORA_OUT = {"weight_decompose": True}
DORA_IN = {"weight_decompose": True, "wd_on_out": False}
SMALL = {"lora_dim": 1, "alpha": 0.5}
MODULES: dict[str, tuple[Any, dict[str, Any]]] = {
    "lora": (lycoris.LoConModule, RANKED),
    "lora alpha 0": (lycoris.LoConModule, {"lora_dim": 3, "alpha": 0}),
    "lora tucker": (lycoris.LoConModule, RANKED | {"use_tucker": True}),
    "lora scalar": (lycoris.LoConModule, RANKED | {"use_scalar": True}),
    "lora rs": (lycoris.LoConModule, RANKED | {"rs_lora": True}),
    "dora out": (lycoris.LoConModule, RANKED | DORA_OUT),
    "dora in": (lycoris.LoConModule, RANKED | DORA_IN),
    "dora out tucker": (lycoris.LoConModule, RANKED | DORA_OUT | {"use_tucker": True}),
    "dora in tucker": (lycoris.LoConModule, RANKED | DORA_IN | {"use_tucker": True}),
    "loha": (lycoris.LohaModule, RANKED),
    "loha tucker": (lycoris.LohaModule, RANKED | {"use_tucker": True}),
    "loha scalar": (lycoris.LohaModule, RANKED | {"use_scalar": True}),
    "loha rs": (lycoris.LohaModule, RANKED | {"rs_lora": True}),
    "loha dora out": (lycoris.LohaModule, RANKED | DORA_OUT),
    "loha dora in": (lycoris.LohaModule, RANKED | DORA_IN),
    "lokr": (lycoris.LokrModule, SMALL),
    "lokr factor 2": (lycoris.LokrModule, SMALL | {"factor": 2}),
    "lokr factor 3": (lycoris.LokrModule, SMALL | {"factor": 3}),
    "lokr both": (lycoris.LokrModule, SMALL | {"decompose_both": True}),
    "lokr full": (lycoris.LokrModule, SMALL | {"full_matrix": True}),
    "lokr full by rank": (lycoris.LokrModule, {"lora_dim": 64, "alpha": 8.0, "factor": 2}),
    "lokr unbalanced": (lycoris.LokrModule, SMALL | {"unbalanced_factorization": True}),
    "lokr tucker": (lycoris.LokrModule, SMALL | {"use_tucker": True, "factor": 2}),
    "lokr rs": (lycoris.LokrModule, {"lora_dim": 2, "alpha": 1.0, "factor": 2, "rs_lora": True}),
    "lokr dora out": (lycoris.LokrModule, SMALL | DORA_OUT),
    "lokr dora in": (lycoris.LokrModule, SMALL | DORA_IN),
    "ia3": (lycoris.IA3Module, {}),
    "ia3 input": (lycoris.IA3Module, {"train_on_input": True}),
    "full": (lycoris.FullModule, {}),
    "glora": (lycoris.GLoRAModule, RANKED),
    "glora scalar": (lycoris.GLoRAModule, RANKED | {"use_scalar": True}),
    "oft": (lycoris.DiagOFTModule, {"lora_dim": 4}),
    "oft constraint": (lycoris.DiagOFTModule, {"lora_dim": 4, "constraint": 0.03}),
    "oft rescaled": (lycoris.DiagOFTModule, {"lora_dim": 4, "rescaled": True}),
    "boft": (lycoris.ButterflyOFTModule, {"lora_dim": 4}),
    "boft constraint": (lycoris.ButterflyOFTModule, {"lora_dim": 2, "constraint": 0.03}),
    "boft rescaled": (lycoris.ButterflyOFTModule, {"lora_dim": 2, "rescaled": True}),
}
every = pytest.mark.parametrize("variant", MODULES)
# these cannot take a grouped convolution in LyCORIS, or take its inputs otherwise
UNGROUPED = ("glora", "ia3 input", "dora in", "tucker")


def test_every_module_of_lycoris_is_compared_or_named():
    compared = {module for module, _ in MODULES.values()} | {lycoris.NormModule}
    left_out = set(lycoris.MODULE_LIST) - compared
    assert left_out == {lycoris.DyLoraModule, lycoris.TLoraModule}  # golden vectors; no loader


@dataclass(frozen=True)
class Case:
    """A random frozen layer and an input for it, told by few numbers."""

    kind: str
    inputs: int
    outputs: int
    bias: bool
    tokens: int
    seed: int

    def make(self, grouped: bool = True) -> tuple[Any, torch.Tensor, int]:
        torch.manual_seed(self.seed)
        if self.kind == "linear":
            layer: Any = nn.Linear(self.inputs, self.outputs, bias=self.bias)
            x = torch.randn(2, self.tokens, self.inputs)
            return layer.requires_grad_(False), x, self.seed
        size, geometry = {
            "1x1": (1, {}),
            "3x3": (3, {"padding": 1}),
            "strided": (3, {"padding": 1, "stride": 2}),
            "odd": ((3, 1), {"padding": (2, 0), "dilation": (2, 1), "groups": 2 if grouped else 1}),
        }[self.kind]
        layer = nn.Conv2d(self.inputs, self.outputs, size, bias=self.bias, **geometry)
        return layer.requires_grad_(False), torch.randn(2, self.inputs, 6, 7), self.seed


layers = st.builds(
    Case,
    kind=st.sampled_from(["linear", "1x1", "3x3", "strided", "odd"]),
    inputs=st.sampled_from([4, 6, 12, 16]),
    outputs=st.sampled_from([8, 12, 16, 24]),
    bias=st.booleans(),
    tokens=st.sampled_from([1, 3, 40]),
    seed=st.integers(0, 10_000),
)


def build(variant: str, layer: Any, seed: int, **more) -> Any:
    """LyCORIS' module with random numbers in every parameter."""
    kind, options = MODULES[variant]
    try:
        module = kind("x", layer, **{"multiplier": 1.0, **options, **more})
    except ValueError as error:
        assume("impossible to decompose" not in str(error))  # BOFT needs even * 2^n outputs
        raise
    if variant == "lokr rs":  # scaled by sqrt(rank) while it trains, by 1 when it is loaded
        assume(not (module.use_w1 and module.use_w2))
    if variant == "lokr tucker":  # its Kronecker product wants another order in memory
        assume(tuple(layer.weight.shape[2:]) != (3, 1))
    if variant == "full":  # only then does it save its difference
        module.apply_to()
    return randomised(module, seed)


def made(variant: str, case: Case):
    """Our layer, input and seed, and LyCORIS' own copy of the layer."""
    layer, x, seed = case.make(grouped=not any(word in variant for word in UNGROUPED))
    return layer, x, seed, deepcopy(layer)


def randomised(module: Any, seed: int) -> Any:
    generator = torch.Generator().manual_seed(seed + 1)
    for name, parameter in module.named_parameters():
        moved = torch.randn(parameter.shape, generator=generator) * 0.4
        if "dora_scale" in name or "magnitude" in name:  # lengths
            moved = parameter.data * (1 + moved.abs())
        if "rescale" in name or name == "scalar":
            moved = 1 + moved
        parameter.data.copy_(moved)
    return module


def saved(module: nn.Module) -> dict[str, torch.Tensor]:
    """LyCORIS' own file tensors of one module."""
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def close(ours, theirs, rel: float = 2e-5, what: str = "") -> None:
    assert ours.shape == theirs.shape, what
    limit = rel * (theirs.abs().max().item() + 1)
    assert (ours - theirs).abs().max().item() <= limit, what


@every
@settings(max_examples=10, deadline=None)
@given(case=layers)
def test_forward_and_merge(variant, case):
    layer, x, seed, copy = made(variant, case)
    module = build(variant, copy, seed)
    with torch.no_grad():
        theirs = module(x)
        assert (theirs - layer(x)).abs().max() > 1e-4  # the parameters do something
        spec, tensors = LayerSpec.of(layer), saved(module)
        close(adapters.restore(spec, tensors).run(x, layer.forward, layer), theirs)
        weight, bias = renma.merged_weight(layer.weight, layer.bias, tensors)
        close(spec.apply(x, weight, bias), theirs)
        if "loha" not in variant and "lokr" not in variant:
            close(weight, module.get_merged_weight(1, layer.weight.shape)[0])


BENT = ("dora", "boft", "oft rescaled")  # LyCORIS' strength 0 is not the base there


@pytest.mark.parametrize("variant", [v for v in MODULES if not any(b in v for b in BENT)])
@settings(max_examples=5, deadline=None)
@given(case=layers, strength=st.sampled_from([0.6, -1.5]))
def test_strength(variant, case, strength):
    layer, x, seed, copy = made(variant, case)
    module = build(variant, copy, seed, multiplier=strength)
    with torch.no_grad():
        spec, tensors = LayerSpec.of(layer), saved(module)
        ours = adapters.restore(spec, tensors).run(x, layer.forward, layer, strength)
        close(ours, module(x))
        weight, bias = renma.merged_weight(layer.weight, layer.bias, tensors, strength)
        close(spec.apply(x, weight, bias), module(x))


def step(parameters) -> None:
    """Goes down the gradient by its own length."""
    with torch.no_grad():
        for parameter in parameters:
            parameter -= parameter.grad


# a product of parameters is stored: a step in the file is no step of one of them
FOLDED = ("scalar", "lokr tucker")


@pytest.mark.parametrize("variant", [v for v in MODULES if not any(f in v for f in FOLDED)])
@settings(max_examples=10, deadline=None)
@given(case=layers)
def test_gradients(variant, case):
    """Files before and after one step of plain descent differ by the gradient; also that of x."""
    layer, x, seed, copy = made(variant, case)
    module = build(variant, copy, seed)
    before = saved(module)
    adapter = adapters.restore(LayerSpec.of(layer), before).requires_grad_()
    vars(adapter)["norm_gradient"] = True  # LyCORIS sends gradients through DoRA's norm
    upstream, grads = None, []
    for function in (module, lambda x: adapter.run(x, layer.forward, layer)):
        leaf = x.clone().requires_grad_()
        y = function(leaf)
        if upstream is None:
            upstream = torch.randn(y.shape, generator=torch.Generator().manual_seed(seed))
        (y * upstream).sum().backward()
        grads.append(leaf.grad)
    close(grads[1], grads[0])
    step(module.parameters())
    step(adapter.parameters())
    theirs, ours = saved(module), adapter.tensors()
    for name, tensor in theirs.items():
        moved = tensor - before[name]
        if tensor.is_floating_point():
            close(ours[name] - before[name], moved, 1e-4, name)
    learnt = [n for n in theirs if n not in {"alpha", "on_input"}]
    assert learnt
    assert all((theirs[n] != before[n]).any() for n in learnt)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), of_groups=st.booleans(), strength=st.sampled_from([1.0, 0.4]))
def test_norm_layers(seed, of_groups, strength):
    torch.manual_seed(seed)
    layer: Any = nn.GroupNorm(4, 8) if of_groups else nn.LayerNorm(8)
    x = torch.randn(2, 8, 3, 4) if of_groups else torch.randn(2, 5, 8)
    layer.weight.data.normal_()
    layer.bias.data.normal_()
    layer.requires_grad_(False)
    module = randomised(lycoris.NormModule("x", layer, multiplier=strength), seed)
    before = saved(module)
    adapter = adapters.restore(LayerSpec.of(layer), before).requires_grad_()
    theirs, ours = module(x), adapter.run(x, layer.forward, layer, strength)
    close(ours, theirs)
    weight, bias = renma.merged_weight(layer.weight, layer.bias, before, strength)
    close(LayerSpec.of(layer).apply(x, weight, bias), theirs)
    (theirs * theirs.detach()).sum().backward()
    (ours * theirs.detach()).sum().backward()
    step(module.parameters())
    step(adapter.parameters())
    for name, tensor in saved(module).items():
        close(adapter.tensors()[name], tensor, 1e-4, name)


OURS = {
    "lora": Lora(rank=3, alpha=2),
    "lora rs": Lora(rank=3, alpha=2, rank_stabilized=True),
    "lora tucker": Lora(rank=3, alpha=2, tucker=True),
    "lora pissa": Lora(rank=3, alpha=2, start="pissa"),
    "lora olora": Lora(rank=3, alpha=2, start="olora"),
    "lora alpha 0": Lora(rank=3, alpha=0),
    "dora": Lora(rank=3, alpha=2, dora="output"),
    "lora_fa": LoraFA(rank=3, alpha=2),
    "lora_fa dora": LoraFA(rank=3, alpha=2, dora="output"),
    "dylora": DyLora(rank=4, alpha=2, unit=2),
    "loha": LoHa(rank=3, alpha=2),
    "loha tucker": LoHa(rank=3, alpha=2, tucker=True),
    "loha dora": LoHa(rank=3, alpha=2, dora="output"),
    "lokr": LoKr(rank=1, alpha=0.5),
    "lokr factor": LoKr(rank=1, alpha=0.5, factor=4),
    "lokr full": LoKr(full_matrix=True),
    "lokr both": LoKr(rank=1, alpha=0.5, decompose_both=True),
    "lokr dora": LoKr(rank=1, alpha=0.5, dora="output"),
    "full": Full(),
    "full no bias": Full(bias=False),
    "glora": GLora(rank=3, alpha=2),
    "oft": Oft(rank=4),
    "oft constraint": Oft(rank=4, constraint=0.03),
}


def ours(name: str, layer: Any, seed: int):
    config = OURS[name]
    if isinstance(config, Full) and layer.bias is None:
        config = config.model_copy(update={"bias": False})
    adapter = adapters.build(LayerSpec.of(layer), config, torch.Generator().manual_seed(seed))
    adapter.start(layer.weight)
    generator = torch.Generator().manual_seed(seed + 1)
    for parameter in adapter.parameters():
        parameter.data += torch.randn(parameter.shape, generator=generator) * 0.3
    return adapter


@pytest.mark.parametrize("name", OURS)
@settings(max_examples=8, deadline=None)
@given(case=layers)
def test_lycoris_loads_what_we_save(name, case):
    layer, x, seed = case.make(grouped=False)
    adapter = ours(name, layer, seed)
    assume(not name.startswith("lokr") or _reloads_its_own(OURS[name], layer))
    module = loaded(adapter.tensors(), layer)
    with torch.no_grad():
        close(module(x), adapter.run(x, layer.forward, layer))
    if isinstance(OURS[name], Full):
        return  # LyCORIS saves what it loaded less the weight
    again = saved(module)
    for suffix in again.keys() & adapter.tensors().keys() - {"alpha"}:
        close(again[suffix], adapter.tensors()[suffix], 0, suffix)


def loaded(tensors, layer: nn.Module):
    """LyCORIS' module of one layer's file tensors."""
    kind, found = lycoris.get_module({f"x.{suffix}": t for suffix, t in tensors.items()}, "x")
    return lycoris.make_module(kind, found, "x", layer)


def _reloads_its_own(config: LoKr, layer: nn.Module) -> bool:
    """LyCORIS guesses the factor from the tensors; not every split can be guessed."""
    options = {"factor": config.factor, "decompose_both": config.decompose_both}
    options |= {"full_matrix": config.full_matrix}
    module = lycoris.LokrModule("x", layer, 1.0, config.rank, config.alpha, **options)
    try:
        loaded(saved(module), layer)
    except RuntimeError:
        return False
    return True


def test_a_whole_file_of_every_algorithm():
    """create_lycoris_from_weights on a small model whose layers have an algorithm each."""
    from lycoris import create_lycoris_from_weights

    torch.manual_seed(0)
    model, x = nn.Sequential(), torch.randn(2, 5, 16)
    for name in OURS:
        model.add_module(name.replace(" ", "-"), nn.Linear(16, 16))
    model.requires_grad_(False)
    expected, tensors, h = [], {}, x
    for seed, (name, (path, layer)) in enumerate(zip(OURS, model.named_children(), strict=True)):
        adapter = ours(name, layer, seed)
        tensors |= {f"lycoris_{path}.{suffix}": t for suffix, t in adapter.tensors().items()}
        with torch.no_grad():
            h = adapter.run(h, layer.forward, layer) / 4
        expected.append(h)

    network, _ = create_lycoris_from_weights(1.0, "", model, weights_sd=tensors)
    assert len(network.loras) == len(OURS)
    network.apply_to()
    with torch.no_grad():
        h = x
        for (path, layer), wanted in zip(model.named_children(), expected, strict=True):
            h = layer(h) / 4
            close(h, wanted, 1e-4, path)
