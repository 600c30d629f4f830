"""``renma file extract`` beside full SVDs of the differences."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from renma import assets
from renma.cli import main
from renma.engine import low_rank
from renma.engine.low_rank import Factors
from renma.formats import lora_file, module_names
from renma.use import loha_fit

UNET = Path("unet/diffusion_pytorch_model.safetensors")
TEXT = Path("text_encoder/model.safetensors")


def tuned(folder: Path, unet_part: str, text: bool = True) -> Path:
    """A copy of mame whose weights under ``unet_part`` (and the text encoder) moved, in float32."""
    shutil.copytree(assets.MAME, folder)
    g = torch.Generator().manual_seed(0)
    for place, words in ((UNET, unet_part), (TEXT, "layers.0.mlp.fc1" if text else "nothing")):
        weights = load_file(assets.MAME / place)
        moved = {}
        for name, t in weights.items():
            change = torch.randn(t.shape, generator=g) * 0.02 if words in name else 0
            moved[name] = (t.float() + change).contiguous()
        save_file(moved, folder / place)
    return folder


def extracted(out: Path, base: Path, after: Path, *options: str) -> lora_file.LoraFile:
    assert main(["file", "extract", str(base), str(after), str(out), *options]) == 0
    return lora_file.read(out)


def delta(layer: dict[str, Tensor]) -> Tensor:
    w = {name: tensor.double() for name, tensor in layer.items()}
    if "hada_w1_a" in w:
        scale = float(w["alpha"]) / len(w["hada_w1_b"])
        return scale * (w["hada_w1_a"] @ w["hada_w1_b"]) * (w["hada_w2_a"] @ w["hada_w2_b"])
    up, down = w["lora_up.weight"].flatten(1), w["lora_down.weight"].flatten(1)
    return float(w["alpha"]) / len(down) * up @ down


def difference(after: Path, key: str) -> Tensor:
    part, path = module_names.module_path(key)
    place = UNET if part == "unet" else TEXT
    name = path.removeprefix("text_model.") + ".weight"
    old, new = load_file(assets.MAME / place)[name], load_file(after / place)[name]
    return (new.double() - old.double()).flatten(1)


def test_lora_is_the_truncated_svd_of_each_difference(tmp_path: Path, capfd):
    after = tuned(tmp_path / "tuned", "mid_block")
    file = extracted(tmp_path / "o.safetensors", Path("mame"), after, "--rank", "4")
    mid = [k for k in file.layers if k.startswith("lora_unet_mid_block_attentions_0")]
    # 8 attention projections, 2 of the feed-forward, proj_in and proj_out; one text layer
    assert len(mid) == 12
    assert set(file.layers) == {*mid, "lora_te_text_model_encoder_layers_0_mlp_fc1"}
    lost = whole = 0.0
    for key, layer in file.layers.items():
        full = difference(after, key)
        u, s, v = torch.linalg.svd(full, full_matrices=False)
        assert (delta(layer) - (u[:, :4] * s[:4]) @ v[:4]).norm() < 1e-4 * full.norm()
        lost, whole = lost + s[4:].square().sum().item(), whole + s.square().sum().item()
        assert layer["lora_down.weight"].dtype == torch.float32
    said = capfd.readouterr().out
    assert f"error: {(lost / whole) ** 0.5:.2%}" in said
    assert "layers are the same in both models" in said
    assert file.metadata["ss_network_dim"] == "4"
    assert file.metadata["ss_training_comment"] == "extracted: tuned - mame"
    assert str(tmp_path) not in json.dumps(file.metadata)


def test_convolutions_only_with_a_rank(tmp_path: Path):
    after = tuned(tmp_path / "tuned", "down_blocks.0.", text=False)
    plain = extracted(tmp_path / "a.safetensors", Path("mame"), after, "--rank", "3")
    assert all("attentions" in key for key in plain.layers)
    conv = extracted(
        tmp_path / "b.safetensors", Path("mame"), after, "--rank", "3", "--conv-rank", "2"
    )
    more = {
        k.removeprefix("lora_unet_down_blocks_0_") for k in set(conv.layers) - set(plain.layers)
    }
    resnet = {"conv1", "conv2", "time_emb_proj"}
    layers = json.loads((assets.MAME / "unet/config.json").read_text())["layers_per_block"]
    expected = {f"resnets_{i}_{n}" for i in range(layers) for n in resnet} | {"downsamplers_0_conv"}
    assert more == expected
    shapes = {
        name: conv.layers[f"lora_unet_down_blocks_0_{name}"]["lora_down.weight"].shape
        for name in ("resnets_0_conv1", "resnets_0_time_emb_proj", "downsamplers_0_conv")
    }
    assert shapes == {"resnets_0_conv1": (2, 48, 3, 3), "resnets_0_time_emb_proj": (3, 192), "downsamplers_0_conv": (2, 48, 3, 3)}  # fmt: skip
    assert json.loads(conv.metadata["ss_network_args"])["conv_dim"] == "2"


def test_what_was_merged_in_comes_out_again(tmp_path: Path):
    key = "lora_unet_mid_block_attentions_0_transformer_blocks_0_ff_net_0_proj"
    g = torch.Generator().manual_seed(0)
    layer = {"lora_up.weight": torch.randn(1024, 4, generator=g) * 0.1, "lora_down.weight": torch.randn(4, 128, generator=g),
             "alpha": torch.tensor(2.0)}  # fmt: skip
    save_file({f"{key}.{s}": t for s, t in layer.items()}, tmp_path / "l.safetensors")
    model = tmp_path / "model"
    words = ["file", "merge", str(tmp_path / "l.safetensors"), "--base", "mame", "-o", str(model)]
    assert main([*words, "--precision", "fp32"]) == 0
    found = extracted(tmp_path / "o.safetensors", Path("mame"), model, "--rank", "4").layers
    assert set(found) == {key}
    assert (delta(found[key]) - delta(layer)).norm() < 1e-5 * delta(layer).norm()


def test_unet_files_alone(tmp_path: Path):
    after = tuned(tmp_path / "tuned", "mid_block")
    file = extracted(tmp_path / "o.safetensors", assets.MAME / UNET, after / UNET, "--rank", "2", "--precision", "bf16")  # fmt: skip
    assert file.layers
    assert all(key.startswith("lora_unet_mid_block") for key in file.layers)
    assert {t.dtype for row in file.layers.values() for t in row.values()} == {torch.bfloat16}


def test_min_difference_leaves_the_text_encoder_out(tmp_path: Path, capfd):
    after = tuned(tmp_path / "tuned", "mid_block")
    most = difference(after, "lora_te_text_model_encoder_layers_0_mlp_fc1").abs().max().item()
    for limit, there in ((0.99 * most, True), (1.01 * most, False)):
        out = tmp_path / f"{there}.safetensors"
        file = extracted(out, Path("mame"), after, "--rank", "2", "--min-difference", str(limit))
        assert any(key.startswith("lora_te") for key in file.layers) is there
    assert "text_encoder: no weight differs by more than" in capfd.readouterr().out


def test_clamping_cuts_factors_at_the_quantile_and_its_error_is_said(tmp_path: Path, capfd):
    after = tuned(tmp_path / "tuned", "mid_block.attentions.0.proj_in", text=False)
    options = ["--rank", "8", "--clamp-quantile", "0.9"]
    file = extracted(tmp_path / "o.safetensors", Path("mame"), after, *options)
    ((key, layer),) = file.layers.items()
    full = difference(after, key).float()
    u, s, v = torch.linalg.svd(full, full_matrices=False)
    up, down = u[:, :8] * s[:8], v[:8]
    limit = float(np.quantile(torch.cat([up.flatten(), down.flatten()]).numpy(), 0.9))
    kept = up.clamp(-limit, limit) @ down.clamp(-limit, limit)
    # signs of singular vectors are free, so products are compared
    assert (delta(layer).float() - kept).norm() < 1e-3 * full.norm()
    assert f"error: {((kept - full).norm() / full.norm()).item():.2%}" in capfd.readouterr().out


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 999), rank=st.integers(1, 24), fall=st.floats(0.9, 0.999))
def test_randomised_svd_is_near_the_best_and_its_error_is_true(seed, rank, fall):
    g = torch.Generator().manual_seed(seed)
    sizes = fall ** torch.arange(540, dtype=torch.float32)
    left = torch.linalg.qr(torch.randn(560, 540, generator=g))[0]
    right = torch.linalg.qr(torch.randn(600, 540, generator=g))[0]
    matrix = (left * sizes) @ right.t()
    found = low_rank.spectrum_of(matrix, rank, seed)
    assert len(found.values) == rank, "the randomised way was taken"
    measured = ((found.cut(rank).product() - matrix).norm() / matrix.norm()).item()
    assert found.error(rank) == pytest.approx(measured, rel=1e-3)
    best = (sizes[rank:].norm() / sizes.norm()).item()
    assert best * (1 - 1e-4) <= measured <= best * 1.002
    assert found.norm == pytest.approx(matrix.norm().item(), rel=1e-4)


def test_randomised_svd_of_a_low_rank_matrix_is_exact_and_repeats():
    g = torch.Generator().manual_seed(0)
    matrix = torch.randn(700, 5, generator=g) @ torch.randn(5, 900, generator=g)
    found, again = (low_rank.spectrum_of(matrix, 8, 7) for _ in range(2))
    assert found.error(5) < 1e-5
    assert torch.equal(found.cut(8).product(), again.cut(8).product())


def test_loha_says_its_true_error_and_beats_the_lora_it_starts_from(tmp_path: Path, capfd):
    after = tuned(tmp_path / "tuned", "mid_block.attentions.0.proj_in", text=False)
    file = extracted(
        tmp_path / "o.safetensors", Path("mame"), after, "--rank", "4", "--algo", "loha"
    )
    ((key, layer),) = file.layers.items()
    assert {name for name in layer if name != "alpha"} == {
        "hada_w1_a",
        "hada_w1_b",
        "hada_w2_a",
        "hada_w2_b",
    }
    full = difference(after, key)
    error = ((delta(layer) - full).norm() / full.norm()).item()
    s = torch.linalg.svdvals(full)
    assert error < (s[4:].norm() / s.norm()).item() * 0.95
    assert f"error: {error:.2%}" in capfd.readouterr().out
    assert file.metadata["ss_network_module"] == "lycoris.kohya"
    assert json.loads(file.metadata["ss_network_args"]) == {"algo": "loha"}


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 999),
    rank=st.integers(1, 4),
    rows=st.integers(5, 30),
    columns=st.integers(5, 30),
)
def test_loha_fit_is_never_worse_than_the_lora(seed, rank, rows, columns):
    matrix = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))
    found = low_rank.spectrum_of(matrix, rank, 0)
    fitted = loha_fit.fit(matrix, found.cut(rank), seed)
    product = fitted.first.product() * fitted.second.product()
    assert fitted.error == pytest.approx(
        ((matrix - product).norm() / matrix.norm()).item(), abs=1e-5
    )
    assert fitted.error <= found.error(rank) + 1e-5


def test_loha_fit_finds_a_product_that_is_there():
    g = torch.Generator().manual_seed(0)
    parts = [
        Factors(
            1 + 0.3 * torch.randn(40, 1, generator=g), 1 + 0.3 * torch.randn(1, 50, generator=g)
        )
        for _ in range(2)
    ]
    matrix = parts[0].product() * parts[1].product()
    assert loha_fit.fit(matrix, low_rank.spectrum_of(matrix, 1, 0).cut(1), 0).error < 1e-5


def test_mistakes_are_one_line(tmp_path: Path, capfd):
    after = tuned(tmp_path / "tuned", "mid_block")
    other = tmp_path / "other"
    shutil.copytree(after, other)
    weights = load_file(after / UNET)
    name = "mid_block.attentions.0.proj_in.weight"
    save_file({**weights, name: torch.zeros(3, 3)}, other / UNET)
    out = str(tmp_path / "o.safetensors")
    for words, message in (
        (["mame", "mame"], "does not differ"),
        (["mame", str(other)], f"'{name}' has shape (3, 3)"),
        (["mame", str(tmp_path / "none")], "no such folder"),
        ([str(after / UNET), str(after / TEXT)], "not a U-Net"),
        (["mame", str(after), "--algo", "loha", "--rank", "80"], "has no fit"),
    ):
        rank = [] if "--rank" in words else ["--rank", "4"]
        assert main(["file", "extract", *words[:2], out, *words[2:], *rank]) == 2
        err = capfd.readouterr().err
        assert message in err
        assert len(err.splitlines()) == 1
        assert not Path(out).exists()


def test_sdxl_gets_kohyas_names_for_it(tmp_path: Path):
    parts = {
        "unet/diffusion_pytorch_model": "down_blocks.1.attentions.0.transformer_blocks.1.attn1.to_q",
        "text_encoder/model": "text_model.encoder.layers.0.self_attn.q_proj",
        "text_encoder_2/model": "text_model.encoder.layers.0.mlp.fc1",
    }
    for model in ("old", "new"):
        for place, path in parts.items():
            file = tmp_path / model / f"{place}.safetensors"
            file.parent.mkdir(parents=True)
            # newer transformers leave `text_model.` out
            path = path.removeprefix("text_model.") if model == "new" else path
            weight = torch.eye(6) if model == "new" else torch.zeros(6, 6)
            save_file({f"{path}.weight": weight}, file)
    out = tmp_path / "o.safetensors"
    found = extracted(out, tmp_path / "old", tmp_path / "new", "--rank", "6")
    assert set(found.layers) == {
        "lora_unet_input_blocks_4_1_transformer_blocks_1_attn1_to_q",
        "lora_te1_text_model_encoder_layers_0_self_attn_q_proj",
        "lora_te2_text_model_encoder_layers_0_mlp_fc1",
    }
    assert all(
        torch.allclose(delta(row), torch.eye(6).double(), atol=1e-6)
        for row in found.layers.values()
    )
    assert found.metadata["modelspec.architecture"] == "stable-diffusion-xl-v1-base/lora"
    model = tmp_path / "merged"
    words = ["file", "merge", str(out), "--base", str(tmp_path / "old"), "-o", str(model)]
    assert main(words) == 0
    for place, path in parts.items():
        new = load_file(model / f"{place}.safetensors")
        assert torch.allclose(new[f"{path}.weight"], torch.eye(6), atol=1e-6)
