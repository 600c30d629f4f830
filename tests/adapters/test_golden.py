"""Outputs and gradients stored from kohya-ss/sd-scripts, LyCORIS, PEFT and MoRA."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import renma
from renma import adapters
from renma.adapters import lora
from renma.adapters._base import LayerSpec
from renma.core import registry
from renma.formats.peft_names import canonical

GOLDEN = Path(__file__).parents[1] / "golden"
ALPHA = 2.0
"""PEFT keeps alpha in its configuration, not in the tensors."""
NO_ADAPTER = {
    "tlora": "its file lacks the frozen half of the update",
    "oft-bs2": "turns inputs, unlike every other OFT file",
    "oft-bs2-exact": "turns inputs, unlike every other OFT file",
    "boft-bs2": "turns inputs, unlike every other BOFT file",
    "vera": "shares its factors between layers",
    "peft/glora": "another method of the same name",
}


@cache
def library(name: str) -> dict[str, dict[str, torch.Tensor]]:
    """Returns the stored fields by case."""
    cases: dict[str, dict[str, torch.Tensor]] = {}
    for key, tensor in load_file(GOLDEN / f"{name}.safetensors").items():
        case, field = key.split("|")
        cases.setdefault(case, {})[field] = tensor
    return cases


@cache
def facts(name: str) -> dict:
    return json.loads((GOLDEN / f"{name}.json").read_text())


def cases():
    for name in ("kohya", "lycoris", "peft", "mora"):
        for case, fields in library(name).items():
            variant = case.split("/")[0]
            known = variant not in NO_ADAPTER and f"{name}/{variant}" not in NO_ADAPTER
            if known and any(f.startswith("adapter.") for f in fields):
                yield name, case


def frozen(fields) -> nn.Module:
    weight, bias = fields.get("base_in_model.weight", fields["base.weight"]), fields["base.bias"]
    if weight.dim() == 1:
        of_groups = fields["x"].dim() == 4
        layer: nn.Module = nn.GroupNorm(4, 8) if of_groups else nn.LayerNorm(weight.shape[0])
    elif weight.dim() == 2:
        layer = nn.Linear(weight.shape[1], weight.shape[0])
    else:
        out, inputs, size, _ = weight.shape
        layer = nn.Conv2d(inputs, out, size, padding=size // 2)
    layer.weight.data, layer.bias.data = weight, bias
    return layer.requires_grad_(False)


def stored(name: str, case: str):
    """Returns the tensors of a case in the one spelling that adapters read."""
    fields = library(name)[case]
    found = {k.removeprefix("adapter."): v for k, v in fields.items() if k.startswith("adapter.")}
    if name == "peft" and "ia3" not in case:
        config = facts("peft")[case]["config"]
        root = config["r"] ** 0.5 if config.get("use_rslora") else 1
        found["alpha"] = torch.tensor(ALPHA * root)
        found["rank"] = torch.tensor(config["r"])
    if name == "mora":
        found["mora_type"] = torch.tensor(int(case.split("-")[1][1:]))
    return canonical(found, shape=fields["base.weight"].shape)


def parameter(adapter, name: str):
    """Returns the adapter's parameter behind a stored gradient's name."""
    name = name.removeprefix("grad.").removeprefix("base_model.model.lay.")
    plain = name.removesuffix(".default").removesuffix(".weight").removesuffix(".default")
    known = {
        "lora_down": "down", "lora_up": "up", "lora_mid": "mid", "lora_A": "down", "lora_B": "up",
        "lora_magnitude_vector": "magnitude", "dora_scale": "magnitude", "oft_blocks": "blocks",
        "ia3_l": "weight", "weight": "weight",
    }  # fmt: skip
    if hasattr(adapter, "diff"):
        known = {"weight": "diff", "bias": "diff_b", "w_norm": "diff", "b_norm": "diff_b"}
    if hasattr(adapter, "matrix"):
        known = {"lora_A": "matrix"}
    plain = plain.removeprefix("hada_").removeprefix("lokr_")
    return getattr(adapter, known.get(plain, plain))


@pytest.mark.parametrize(("name", "case"), list(cases()))
def test_forward(name, case):
    fields = library(name)[case]
    if "y" not in fields:
        assert "dylora" in case  # an output for each rank instead, see below
        return
    layer = frozen(fields)
    expected = fields["y"]
    weight, bias = renma.merged_weight(layer.weight, layer.bias, stored(name, case))
    adapter = adapters.restore(LayerSpec.of(layer), stored(name, case))
    got = adapter.spec.apply(fields["x"], weight, bias)
    torch.testing.assert_close(got, expected, rtol=2e-5, atol=2e-5)
    got = adapter.run(fields["x"], layer.forward, layer)
    torch.testing.assert_close(got, expected, rtol=2e-5, atol=2e-5)


NOT_COMPARED = {
    # wrong in PEFT, as tests/golden/README.md says
    "peft/loha-effconv/conv3x3": ("hada_w1_a", "hada_w2_a"),
    # the core is multiplied out when the file is read
    "lycoris/lokr-tucker/conv3x3": ("lokr_t2", "lokr_w2_a", "lokr_w2_b"),
    "peft/lokr-effconv/conv3x3": ("lokr_t2", "lokr_w2_a", "lokr_w2_b"),
}


@pytest.mark.parametrize(
    ("name", "case"),
    [c for c in cases() if any(f.startswith("grad.") for f in library(c[0])[c[1]])],
)
def test_gradients(name, case):
    fields = library(name)[case]
    layer = frozen(fields)
    adapter = adapters.restore(LayerSpec.of(layer), stored(name, case)).requires_grad_()
    adapter.norm_gradient = name == "lycoris"  # PEFT holds DoRA's norm fixed, as the paper does
    y = adapter.run(fields["x"], layer.forward, layer)
    (y * fields["upstream"]).sum().backward()
    grads = {k: v for k, v in fields.items() if k.startswith("grad.")}
    assert grads
    for field, expected in grads.items():
        if any(bad in field for bad in NOT_COMPARED.get(f"{name}/{case}", ())):
            continue
        own = parameter(adapter, field).grad
        if case.startswith("lokr-full") and name == "peft" and "w1" in field:
            own = own * ALPHA / 4  # the scale was multiplied into w1 when the file was read
        torch.testing.assert_close(own, expected.reshape(own.shape), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("case", [c for n, c in cases() if n == "lycoris" and "dylora" in c])
def test_dylora_ranks_of_lycoris(case):
    """LyCORIS counts ranks in blocks: its scale at block b is alpha / (b + 1)."""
    fields = library("lycoris")[case]
    unit, alpha = int(case.split("/")[0][-1]), 2.0
    ranks = sorted(f for f in fields if f.startswith("delta_rank"))
    assert ranks
    layer = frozen(fields)
    tensors = stored("lycoris", case)
    module = registry.load("renma.adapters", "dylora")
    config = module.config_of(tensors).model_copy(update={"unit": unit})
    adapter = module.Adapter(LayerSpec.of(layer), config, torch.Generator())
    adapter.load_tensors(tensors)
    for field in ranks:
        end = int(field.removeprefix("delta_rank")) + unit
        adapter.window = (end - unit, end)
        up, down = adapter.low_rank()
        ours = (up @ down) * unit  # ours counts ranks, as the paper does
        expected = fields[field].reshape(ours.shape)
        torch.testing.assert_close(ours, expected, rtol=2e-5, atol=2e-5, msg=field)
        assert adapter.factors().scale == pytest.approx(alpha / end)


@pytest.mark.parametrize("case", [c for n, c in cases() if n == "kohya" and "dylora" in c])
def test_dylora_of_kohya_is_plain_lora(case):
    """kohya multiplies the whole product by sqrt(rank / ranks in use); the file is LoRA."""
    fields = library("kohya")[case]
    layer = frozen(fields)
    adapter = adapters.restore(LayerSpec.of(layer), stored("kohya", case))
    base = layer(fields["x"])
    update = adapter.run(fields["x"], layer.forward, layer) - base
    seen = 0
    for field, expected in fields.items():
        if field.startswith("y_rank"):
            used = int(field.removeprefix("y_rank")) + int(case.split("/")[0][-1])
            torch.testing.assert_close(
                base + update * (adapter.rank / used) ** 0.5, expected, rtol=2e-5, atol=2e-5
            )
            seen += 1
    assert seen


def test_start_is_kaiming_uniform():
    spec = LayerSpec("linear", 4000, 10)
    adapter = lora.Adapter(spec, lora.Lora(rank=8), torch.Generator().manual_seed(0))
    bound = 4000**-0.5
    assert adapter.down.abs().max() <= bound
    assert adapter.down.std().item() == pytest.approx(bound / 3**0.5, rel=0.02)
    assert not adapter.up.any()
