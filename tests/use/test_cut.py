"""``renma file cut``: the first ranks, as DyLoRA trained them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from renma.cli import main
from renma.formats import lora_file

KEY = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
CONV = "lora_unet_mid_block_resnets_0_conv1"


def dylora(alpha: float | None = 4.0) -> dict[str, dict[str, Tensor]]:
    g = torch.Generator().manual_seed(0)

    def extra() -> dict[str, Tensor]:
        return {} if alpha is None else {"alpha": torch.tensor(alpha)}

    return {
        KEY: {"lora_up.weight": torch.randn(12, 8, generator=g), "lora_down.weight": torch.randn(8, 10, generator=g), **extra()},
        CONV: {"lora_up.weight": torch.randn(6, 8, 1, 1, generator=g), "lora_down.weight": torch.randn(8, 4, 3, 3, generator=g), **extra()},
    }  # fmt: skip


def write(path: Path, layers, metadata=None) -> Path:
    flat = {f"{k}.{s}": t.contiguous() for k, row in layers.items() for s, t in row.items()}
    save_file(flat, path, metadata or {})
    return path


def cut(source: Path, rank: int) -> lora_file.LoraFile:
    out = source.with_name("out.safetensors")
    assert main(["file", "cut", str(source), str(out), "--rank", str(rank)]) == 0
    return lora_file.read(out)


@pytest.mark.parametrize("rank", [1, 3, 8])
def test_first_ranks_with_the_scale_dylora_trained_them_with(tmp_path: Path, rank: int):
    layers = dylora()
    source = write(tmp_path / "a.safetensors", layers, {"ss_network_module": "networks.dylora"})
    new = cut(source, rank).layers
    for key, layer in layers.items():
        up, down = layer["lora_up.weight"].flatten(1), layer["lora_down.weight"].flatten(1)
        trained = 4.0 / rank * up[:, :rank] @ down[:rank]
        found = new[key]
        scale = float(found["alpha"]) / found["lora_down.weight"].shape[0]
        update = scale * found["lora_up.weight"].flatten(1) @ found["lora_down.weight"].flatten(1)
        assert torch.allclose(update, trained, atol=1e-6)
        assert found["lora_down.weight"].shape[1:] == layer["lora_down.weight"].shape[1:]


@pytest.mark.parametrize("layer", ["linear6x10", "conv1x1", "conv3x3"])
def test_lycoris_own_updates_at_each_rank(golden: Path, tmp_path: Path, layer: str):
    """LyCORIS' DyLoRA with blocks of one rank, from its golden vectors."""
    case, vectors = f"dylora-b1/{layer}|", load_file(golden / "lycoris.safetensors")
    known = {n.removeprefix(case): t for n, t in vectors.items() if n.startswith(case)}
    tensors = {n.removeprefix("adapter."): t for n, t in known.items() if n.startswith("adapter.")}
    source = write(tmp_path / "a.safetensors", {KEY: tensors}, {"ss_network_args": "dylora"})
    updates = {int(n.removeprefix("delta_rank")): t for n, t in known.items() if "delta_rank" in n}
    assert sorted(updates) == [0, 1, 3]
    for last, expected in updates.items():
        found = cut(source, last + 1).layers[KEY]
        scale = float(found["alpha"]) / (last + 1)
        update = scale * found["lora_up.weight"].flatten(1) @ found["lora_down.weight"].flatten(1)
        assert torch.allclose(update, expected.flatten(1), atol=1e-6)
        # LyCORIS writes (outputs, rank) for convolutions too, which no loader takes
        assert found["lora_up.weight"].dim() == found["lora_down.weight"].dim()


@pytest.mark.parametrize("alpha", [None, 0.0])
def test_alpha_that_meant_the_rank_goes_on_meaning_it(tmp_path: Path, alpha):
    source = write(
        tmp_path / "a.safetensors", dylora(alpha), {"ss_network_args": '{"algo": "dylora"}'}
    )
    assert float(cut(source, 2).layers[KEY]["alpha"]) == 8


def test_metadata_and_hashes(tmp_path: Path, capfd):
    metadata = {"ss_network_module": "networks.dylora", "ss_network_dim": "8", "ss_network_alpha": "4.0",
                "ss_network_args": '{"unit": "1", "conv_dim": "8"}', "ss_seed": "7", "sshs_model_hash": "old"}  # fmt: skip
    source = write(tmp_path / "a.safetensors", dylora(), metadata)
    found = cut(source, 3).metadata
    assert (found["ss_network_module"], found["ss_network_dim"], found["ss_network_alpha"]) == (
        "networks.lora",
        "3",
        "4.0",
    )
    assert json.loads(found["ss_network_args"]) == {"conv_dim": "3", "conv_alpha": "4.0"}
    assert found["ss_seed"] == "7"
    assert found["sshs_model_hash"] not in ("", "old")
    assert "warning" not in capfd.readouterr().out


def test_a_file_that_is_no_dylora_warns(tmp_path: Path, capfd):
    cut(write(tmp_path / "a.safetensors", dylora(), {"ss_network_module": "networks.lora"}), 3)
    assert "does not say that it was trained with DyLoRA" in capfd.readouterr().out


def test_refused(tmp_path: Path, capfd):
    source = write(tmp_path / "a.safetensors", dylora())
    out = tmp_path / "o.safetensors"
    assert main(["file", "cut", str(source), str(out), "--rank", "9"]) == 2
    assert "has rank 8, which is below --rank 9" in capfd.readouterr().err
    odd = dylora()
    odd[KEY]["dora_scale"] = torch.ones(12, 1)
    source = write(tmp_path / "b.safetensors", odd)
    assert main(["file", "cut", str(source), str(out), "--rank", "2"]) == 2
    err = capfd.readouterr().err
    assert "is no plain LoRA" in err
    assert "dora_scale" in err
    assert not out.exists()
