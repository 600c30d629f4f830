"""Outputs and gradients stored from kohya-ss/sd-scripts, LyCORIS and PEFT."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from renma.adapters import lora
from renma.adapters._base import LayerSpec

CASES = [
    (library, variant, layer)
    for library, variants in {
        "kohya": ["lora", "lora-fa"],
        "lycoris": ["lora", "lora-rslora"],
        "peft": ["lora"],
    }.items()
    for variant in variants
    for layer in ("linear6x10", "conv3x3", "conv1x1")
]


def frozen(fields) -> nn.Module:
    weight, bias = fields["base.weight"], fields["base.bias"]
    if weight.dim() == 2:
        layer: nn.Module = nn.Linear(weight.shape[1], weight.shape[0])
    else:
        layer = nn.Conv2d(
            weight.shape[1], weight.shape[0], weight.shape[2], padding=weight.shape[2] // 2
        )
    layer.weight.data, layer.bias.data = weight, bias
    return layer.requires_grad_(False)


def adapter_tensors(fields, library: str):
    found = {k.removeprefix("adapter."): v for k, v in fields.items() if k.startswith("adapter.")}
    if library != "peft":
        return found
    names = {"lora_A.weight": "lora_down.weight", "lora_B.weight": "lora_up.weight"}
    prefix = "base_model.model.lay."
    renamed = {names[k.removeprefix(prefix)]: v for k, v in found.items()}
    return {**renamed, "alpha": torch.tensor(2.0)}  # PEFT keeps alpha in its configuration


@pytest.mark.parametrize(("library", "variant", "layer_name"), CASES)
def test_forward_and_gradients(golden, library, variant, layer_name):
    everything = load_file(golden / f"{library}.safetensors")
    prefix = f"{variant}/{layer_name}|"
    fields = {k.removeprefix(prefix): v for k, v in everything.items() if k.startswith(prefix)}
    assert fields, "no such case"
    layer = frozen(fields)
    tensors = adapter_tensors(fields, library)
    adapter = lora.Adapter(LayerSpec.of(layer), lora.config_of(tensors), torch.Generator())
    adapter.load_tensors(tensors)
    y = adapter.run(fields["x"], layer.forward, layer)
    torch.testing.assert_close(y, fields["y"], rtol=2e-5, atol=2e-5)
    weight, _ = adapter.apply_weight(layer.weight, layer.bias)
    torch.testing.assert_close(
        adapter.spec.apply(fields["x"], weight, layer.bias), fields["y"], rtol=2e-5, atol=2e-5
    )
    if "upstream" not in fields:
        return
    (y * fields["upstream"]).sum().backward()
    grads = {k: v for k, v in fields.items() if k.startswith("grad.")}
    for name, expected in grads.items():
        down = "lora_down" in name or "lora_A" in name
        own = adapter.down.grad if down else adapter.up.grad
        torch.testing.assert_close(own, expected.reshape(own.shape), rtol=1e-4, atol=1e-4)


def test_start_is_kaiming_uniform():
    spec = LayerSpec("linear", 4000, 10)
    adapter = lora.Adapter(spec, lora.Lora(rank=8), torch.Generator().manual_seed(0))
    bound = 4000**-0.5
    assert adapter.down.abs().max() <= bound
    assert adapter.down.std().item() == pytest.approx(bound / 3**0.5, rel=0.02)
    assert not adapter.up.any()
