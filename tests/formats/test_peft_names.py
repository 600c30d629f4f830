"""PEFT's own files, for every algorithm, mean to renma what they mean to PEFT."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import peft

import renma
from renma.formats import lora_file
from renma.formats.peft_names import canonical, split

LAYERS = {
    "mid_block.attentions.0.transformer_blocks.0.attn1.to_q": lambda: nn.Linear(10, 6),
    "mid_block.attentions.0.transformer_blocks.0.attn1.to_k": lambda: nn.Linear(8, 8),
    "mid_block.resnets.0.conv1": lambda: nn.Conv2d(4, 8, 3, padding=1),
    "mid_block.attentions.0.proj_in": lambda: nn.Conv2d(4, 8, 1),
}
CONFIGS: dict[str, Any] = {
    "lora": peft.LoraConfig(r=4, lora_alpha=2),
    "patterns": peft.LoraConfig(
        r=4, lora_alpha=2, rank_pattern={"to_q": 2}, alpha_pattern={"^mid_block.resnets.0.conv1": 6}
    ),
    "rslora": peft.LoraConfig(r=4, lora_alpha=2, use_rslora=True),
    "dora": peft.LoraConfig(r=4, lora_alpha=2, use_dora=True),
    "loha": peft.LoHaConfig(r=3, alpha=2),
    "loha tucker": peft.LoHaConfig(r=3, alpha=2, use_effective_conv2d=True),
    "lokr": peft.LoKrConfig(r=1, alpha=2),
    "lokr both": peft.LoKrConfig(r=1, alpha=2, decompose_both=True),
    "lokr full": peft.LoKrConfig(r=64, alpha=2),
    "ia3": peft.IA3Config(
        feedforward_modules=["to_k", "proj_in"], init_ia3_weights=False
    ),
}  # fmt: skip


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        for path, make in LAYERS.items():
            node, *rest = path.split(".")
            place: nn.Module = self
            for word in (node, *rest[:-1]):
                if not hasattr(place, word):
                    place.add_module(word, nn.Module())
                place = getattr(place, word)
            place.add_module(rest[-1], make())


def key_of(path: str) -> str:
    return "lora_unet_" + path.replace(".", "_")


@pytest.mark.parametrize("name", CONFIGS)
def test_files_of_peft(tmp_path: Path, name):
    torch.manual_seed(0)
    model = Model()
    base = {path: model.get_submodule(path) for path in LAYERS}
    before = {p: (m.weight.detach().clone(), m.bias.detach().clone()) for p, m in base.items()}
    config = CONFIGS[name]
    config.target_modules = list(LAYERS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tuned = peft.get_peft_model(model, config)  # pyright: ignore[reportArgumentType]
        for parameter in tuned.parameters():
            if parameter.requires_grad:
                parameter.data = torch.randn_like(parameter).abs() / 3 + 0.1
        tuned.save_pretrained(str(tmp_path))
        merged = tuned.merge_and_unload()
    file = lora_file.read(tmp_path / "adapter_model.safetensors")
    assert file.naming == "peft"
    assert file.layers.keys() == {key_of(path) for path in LAYERS}
    for path, (weight, bias) in before.items():
        layer = file.layers[key_of(path)]
        if name == "ia3" and path.endswith("proj_in"):
            assert int(layer["on_input"]) == 0  # a convolution's side needs the weight's shape
            layer = canonical({"ia3_l": layer["weight"] + 1}, weight.shape)
        got_weight, got_bias = renma.merged_weight(weight, bias, layer)
        expected: Any = merged.get_submodule(path)
        assert torch.allclose(got_weight, expected.weight, atol=1e-5), path
        assert torch.allclose(got_bias, expected.bias, atol=1e-5), path


@pytest.mark.parametrize("name", ["lora", "dora", "loha", "lokr", "lokr both", "lokr full"])
def test_peft_takes_what_we_write(tmp_path: Path, name):
    """Names and values for PEFT: its own state, read and written by renma, is its own again."""
    torch.manual_seed(0)
    config = CONFIGS[name]
    config.target_modules = list(LAYERS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tuned = peft.get_peft_model(Model(), config)  # pyright: ignore[reportArgumentType]
        tuned.save_pretrained(str(tmp_path))
        state = peft.get_peft_model_state_dict(tuned)
    (tmp_path / "adapter_config.json").unlink()
    file = lora_file.read(tmp_path / "adapter_model.safetensors")
    tensors, _ = lora_file.named(file, "diffusers")
    renamed = {n.replace("unet.", "base_model.model.", 1): t for n, t in tensors.items()}
    assert renamed.keys() == state.keys()
    assert all(torch.equal(renamed[n].reshape(t.shape), t) for n, t in state.items())
    result = peft.set_peft_model_state_dict(tuned, renamed)
    assert not result.unexpected_keys


def test_ia3_keeps_the_bits_of_small_factors(tmp_path: Path):
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        w = (torch.randn(64) * 1e-3).to(dtype)
        row = {"weight": w, "on_input": torch.tensor(0), "bias_scaled": torch.tensor(1)}
        file = lora_file.LoraFile({key_of("mid_block.attentions.0.proj_in"): row})
        path = tmp_path / "x.safetensors"
        lora_file.write(path, file, "diffusers")
        (layer,) = lora_file.read(path).layers.values()
        assert torch.equal(layer["weight"].to(dtype), w)
        assert int(layer["bias_scaled"]) == 1


def test_square_mora_is_not_a_lora():
    matrix = torch.randn(4, 4)
    for tensors in (
        {"lora_A.weight": matrix},
        {"lora_A.weight": matrix, "lora_B.weight": matrix.clone()},
    ):
        found = canonical({f"base_model.model.x.{n}": t for n, t in tensors.items()})
        assert found.keys() == {"mora", "mora_type"}
        assert torch.equal(found["mora"], matrix)
    found = canonical({"lora_A.weight": matrix, "lora_B.weight": matrix + 1})
    assert found.keys() == {"lora_down.weight", "lora_up.weight"}


def test_names_are_split_at_the_longest_ending():
    assert split("a.b.lora_up.weight") == ("a.b", "lora_up.weight")
    assert split("a.ff.net.0.proj.lora_A.default.weight") == ("a.ff.net.0.proj", "lora_down.weight")
    assert split("a1.weight") == ("", "a1.weight")
    assert split("surprise") is None


def test_a_full_pair_needs_its_rank():
    pair = {"lokr_w1": torch.ones(2, 2), "lokr_w2": torch.ones(3, 3), "alpha": torch.tensor(2.0)}
    assert "alpha" in canonical(pair)  # LyCORIS' file: readers ignore its alpha
    with pytest.raises(ValueError, match="rank"):
        canonical({f"base_model.model.x.{n}": t for n, t in pair.items()})


def test_lycoris_scalar_multiplies_the_update():
    """use_scalar's number, where a file holds it, against LyCORIS' formulas written out."""
    g = torch.Generator().manual_seed(0)

    def r(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=g)

    scalar, alpha = torch.tensor(0.3), torch.tensor(1.5)
    up, down = r(6, 2), r(2, 8)
    a1, b1, a2, b2 = r(6, 2), r(2, 8), r(6, 2), r(2, 8)
    w1, w2, w1_a, w1_b, w2_b = r(2, 4), r(3, 2), r(2, 2), r(2, 4), r(2, 2)
    layers = [
        ({"lora_down.weight": down, "lora_up.weight": up}, 0.75 * up @ down),
        ({"hada_w1_a": a1, "hada_w1_b": b1, "hada_w2_a": a2, "hada_w2_b": b2},
         0.75 * (a1 @ b1) * (a2 @ b2)),
        ({"lokr_w1": w1, "lokr_w2_a": w2, "lokr_w2_b": w2_b}, 0.75 * torch.kron(w1, w2 @ w2_b)),
        ({"lokr_w1_a": w1_a, "lokr_w1_b": w1_b, "lokr_w2_a": w2, "lokr_w2_b": w2_b},
         0.75 * torch.kron(w1_a @ w1_b, w2 @ w2_b)),
    ]  # fmt: skip
    for row, update in layers:
        held = {**row, "alpha": alpha, "scalar": scalar}
        found, _ = renma.merged_weight(torch.zeros(6, 8), None, held)
        assert torch.allclose(found, 0.3 * update, atol=1e-6)
        assert "scalar" in held, "the caller's layer is not changed"
        plain, _ = renma.merged_weight(torch.zeros(6, 8), None, {**row, "alpha": alpha})
        assert torch.allclose(plain, update, atol=1e-6)
    with pytest.raises(ValueError, match="scalar"):
        canonical({"diff": torch.ones(6, 8), "scalar": scalar})


def test_glora_has_a_scalar_for_both_products():
    """LyCORIS: (W A + B) * scalar, each of the two products once."""
    row = {f"{n}.weight": torch.randn(2, 2) for n in ("a1", "a2", "b1", "b2")}
    found = canonical({**row, "scalar": torch.tensor(0.5)})
    assert torch.equal(found["a2.weight"], row["a2.weight"] / 2)
    assert torch.equal(found["b2.weight"], row["b2.weight"] / 2)
    assert torch.equal(found["a1.weight"], row["a1.weight"])
