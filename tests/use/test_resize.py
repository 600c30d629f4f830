"""``renma file resize`` beside a full SVD of every update."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from renma.cli import main
from renma.engine import low_rank
from renma.engine.low_rank import Factors
from renma.formats import lora_file

LINEAR = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
POINT = "lora_unet_mid_block_attentions_0_proj_in"
CONV = "lora_unet_mid_block_resnets_0_conv1"
TEXT = "lora_te_text_model_encoder_layers_0_mlp_fc1"
SHAPES = {LINEAR: (24, 20), POINT: (18, 16, 1, 1), CONV: (12, 6, 3, 3), TEXT: (30, 14)}


def lora(shape: tuple[int, ...], rank: int, alpha: float, seed: int) -> dict[str, Tensor]:
    """A LoRA layer whose singular values fall, as those of trained ones do."""
    g = torch.Generator().manual_seed(seed)
    fall = 0.6 ** torch.arange(rank)
    up = torch.randn(shape[0], rank, generator=g) * fall
    down = torch.randn(rank, *shape[1:], generator=g)
    up = up[:, :, None, None] if len(shape) == 4 else up
    return {"lora_up.weight": up, "lora_down.weight": down, "alpha": torch.tensor(alpha)}


def write(path: Path, layers: dict[str, dict[str, Tensor]], metadata=None) -> Path:
    flat = {f"{k}.{s}": t.contiguous() for k, layer in layers.items() for s, t in layer.items()}
    save_file(flat, path, metadata or {})
    return path


def delta(layer: dict[str, Tensor]) -> Tensor:
    """The update, written out."""
    up, down = layer["lora_up.weight"].double(), layer["lora_down.weight"].double()
    scale = float(layer["alpha"]) / down.shape[0]
    return scale * up.flatten(1) @ down.flatten(1)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    layers = {k: lora(s, 6, 3.0, i) for i, (k, s) in enumerate(SHAPES.items())}
    metadata = {
        "ss_network_dim": "6", "ss_network_alpha": "3.0", "ss_network_module": "networks.lora",
        "ss_network_args": json.dumps({"conv_dim": "6", "conv_alpha": "3", "kept": "1"}),
        "ss_training_comment": "mine", "sshs_model_hash": "old", "modelspec.hash_sha256": "0x1",
    }  # fmt: skip
    return write(tmp_path / "a.safetensors", layers, metadata)


def resized(source: Path, *options: str) -> lora_file.LoraFile:
    out = source.with_name("out.safetensors")
    assert main(["file", "resize", str(source), str(out), *options]) == 0
    return lora_file.read(out)


def test_static_is_the_truncated_svd(source: Path, capfd):
    new, old = resized(source, "--rank", "3", "--conv-rank", "2"), lora_file.read(source)
    lost = whole = 0.0
    for key, layer in new.layers.items():
        full = delta(old.layers[key])
        rank = 2 if key == CONV else 3
        assert layer["lora_down.weight"].shape[0] == rank
        assert layer["lora_up.weight"].shape[2:] == layer["lora_down.weight"].shape[2:3] * 0 + (
            (1, 1) if len(SHAPES[key]) == 4 else ()
        )
        assert layer["lora_down.weight"].shape[1:] == SHAPES[key][1:]
        assert float(layer["alpha"]) == pytest.approx(0.5 * rank)
        u, s, v = torch.linalg.svd(full, full_matrices=False)
        best = (u[:, :rank] * s[:rank]) @ v[:rank]
        assert (delta(layer) - best).norm() <= 1e-5 * full.norm()
        lost, whole = lost + s[rank:].square().sum().item(), whole + s.square().sum().item()
    said = capfd.readouterr().out
    assert f"error {(lost / whole) ** 0.5:.2e} of" in said
    assert f"{(1 - lost / whole) ** 0.5:.2%} of the norm" in said
    assert "text_encoder" in said
    assert "mid_block" in said


def test_metadata_tells_the_new_network(source: Path):
    found = resized(source, "--rank", "3", "--conv-rank", "2").metadata
    assert (found["ss_network_dim"], found["ss_network_alpha"]) == ("3", "1.5")
    assert json.loads(found["ss_network_args"]) == {
        "kept": "1",
        "conv_dim": "2",
        "conv_alpha": "1.0",
    }
    assert found["ss_training_comment"] == "resized from 6 to 3; mine"
    assert found["sshs_model_hash"] != "old"
    assert "modelspec.hash_sha256" not in found
    dynamic = resized(source, "--rank", "6", "--method", "sv_fro", "--parameter", "0.9").metadata
    assert dynamic["ss_network_dim"] == dynamic["ss_network_alpha"] == "Dynamic"


def kohya_rank(s: Tensor, method: str, p: float) -> int:
    """What resize_lora.py computes before it adds its one rank too many."""
    if method == "sv_ratio":
        return int((s > s[0] / p).sum())
    amounts = s.square() if method == "sv_fro" else s
    goal = p**2 if method == "sv_fro" else p
    for count in range(1, len(s) + 1):
        if amounts[:count].sum() / amounts.sum() >= goal:
            return count
    return len(s)


@pytest.mark.parametrize(
    ("method", "parameter"),
    [
        ("sv_ratio", 2.0),
        ("sv_ratio", 6.0),
        ("sv_cumulative", 0.5),
        ("sv_cumulative", 0.8),
        ("sv_fro", 0.7),
        ("sv_fro", 0.95),
    ],
)
def test_dynamic_ranks_are_the_references_without_its_one_too_many(source: Path, method, parameter):
    new = resized(source, "--rank", "4", "--method", method, "--parameter", str(parameter))
    ranks = set()
    for key, layer in lora_file.read(source).layers.items():
        s = torch.linalg.svdvals(delta(layer))
        rank = new.layers[key]["lora_down.weight"].shape[0]
        assert rank == min(4, kohya_rank(s, method, parameter))
        assert float(new.layers[key]["alpha"]) == pytest.approx(0.5 * rank)
        ranks.add(rank)
    assert min(ranks) < 4


@settings(max_examples=40, deadline=None)
@given(
    outputs=st.integers(1, 12), columns=st.integers(1, 12), rank=st.integers(1, 16),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_full_rank_changes_nothing_and_error_never_grows_with_rank(outputs, columns, rank, seed):
    g = torch.Generator().manual_seed(seed)
    up = torch.randn(outputs, rank, generator=g)
    down = torch.randn(rank, columns, generator=g)
    whole = (up.double() @ down.double()).float()
    found = low_rank.spectrum(Factors(up, down))
    same = found.cut(rank).product()
    assert (same - whole).norm() <= 1e-5 * whole.norm() + 1e-12
    errors = [found.error(k) for k in range(rank + 1)]
    assert errors == sorted(errors, reverse=True)
    for k in range(len(found.values)):
        measured = (found.cut(k).product() - whole).norm() / whole.norm()
        assert measured == pytest.approx(errors[k], abs=2e-5)


@settings(max_examples=40, deadline=None)
@given(
    values=st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=8),
    share=st.floats(0.05, 1.0),
    most=st.integers(1, 8),
)
def test_chosen_rank_is_the_smallest_that_holds_the_share(values, share, most):
    s = torch.tensor(sorted(values, reverse=True), dtype=torch.float64)
    rank = low_rank.choose_rank(s, "sv_cumulative", share, len(s))
    assert s[:rank].sum() >= share * s.sum() * (1 - 1e-9)
    assert rank == 1 or s[: rank - 1].sum() < share * s.sum()
    assert low_rank.choose_rank(s, "sv_cumulative", share, most) == min(rank, most)


def test_empty_layer_gets_rank_one():
    assert low_rank.choose_rank(torch.zeros(4), "sv_fro", 0.9, 4) == 1
    assert low_rank.spectrum(Factors(torch.zeros(3, 2), torch.zeros(2, 3))).error(1) == 0


@settings(max_examples=30, deadline=None)
@given(power=st.integers(-20, 20), rank=st.integers(1, 4), seed=st.integers(0, 9))
def test_balancing_is_exact_and_evens_the_lengths(power, rank, seed):
    g = torch.Generator().manual_seed(seed)
    factors = Factors(
        torch.randn(5, rank, generator=g) * 2.0**power, torch.randn(rank, 7, generator=g)
    )
    even = low_rank.balanced(factors)
    for k in range(rank):
        old = factors.up[:, k : k + 1] @ factors.down[k : k + 1]
        assert torch.equal(even.up[:, k : k + 1] @ even.down[k : k + 1], old)
        assert 0.49 < even.up[:, k].norm() / even.down[k].norm() < 2.01


def test_small_numbers_survive_half_precision(tmp_path: Path):
    layer = lora((24, 20), 4, 1.0, 0)
    layer["lora_up.weight"] *= 2e-4  # below half precision's normal numbers after the SVD's split
    source = write(tmp_path / "a.safetensors", {LINEAR: layer})
    new = resized(source, "--rank", "4", "--precision", "fp16").layers[LINEAR]
    assert new["lora_up.weight"].dtype == torch.float16
    old = delta(layer)
    assert (delta(new) - old).norm() < 1e-3 * old.norm()


def test_other_algorithms(tmp_path: Path, capfd):
    g = torch.Generator().manual_seed(1)
    w = {n: torch.randn(s, generator=g) for n, s in
         {"hada_w1_a": (20, 2), "hada_w1_b": (2, 18), "hada_w2_a": (20, 2), "hada_w2_b": (2, 18)}.items()}  # fmt: skip
    loha = {**w, "alpha": torch.tensor(1.0)}
    ia3 = {"weight": torch.randn(14, generator=g), "on_input": torch.tensor(0)}
    dora = {**lora((24, 20), 4, 2.0, 3), "dora_scale": torch.rand(24, 1, generator=g)}
    source = write(tmp_path / "a.safetensors", {POINT: loha, TEXT: ia3, LINEAR: dora})
    new = resized(source, "--rank", "3").layers
    full = 0.5 * (w["hada_w1_a"] @ w["hada_w1_b"]) * (w["hada_w2_a"] @ w["hada_w2_b"])
    u, s, v = torch.linalg.svd(full, full_matrices=False)
    assert torch.allclose(delta(new[POINT]).float(), (u[:, :3] * s[:3]) @ v[:3], atol=1e-4)
    assert torch.equal(new[TEXT]["weight"], ia3["weight"])
    assert torch.equal(new[LINEAR]["dora_scale"], dora["dora_scale"])
    assert new[LINEAR]["lora_down.weight"].shape[0] == 3
    assert "1 layers without low-rank factors are as they were" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--method", "sv_ratio"], "needs a number"),
        (["--method", "sv_ratio", "--parameter", "1"], "is not of 2 or more"),
        (["--method", "sv_fro", "--parameter", "1.5"], "between 0 and 1"),
        (["--parameter", "0.5"], "belongs to a dynamic method"),
    ],
)
def test_wrong_numbers_are_said_in_one_line(source: Path, capfd, options, message):
    assert main(["file", "resize", str(source), str(source) + "2", "--rank", "4", *options]) == 2
    err = capfd.readouterr().err
    assert message in err
    assert len(err.splitlines()) == 1
    assert not Path(str(source) + "2").exists()


def test_a_broken_number_is_refused(tmp_path: Path, capfd):
    layer = lora((24, 20), 4, 1.0, 0)
    layer["lora_up.weight"][3, 1] = float("nan")
    source = write(tmp_path / "a.safetensors", {LINEAR: layer})
    assert main(["file", "resize", str(source), str(tmp_path / "b"), "--rank", "2"]) == 2
    assert f"{LINEAR}.lora_up.weight' holds NaN" in capfd.readouterr().err


def test_peft_names_stay_and_load_in_peft_form(tmp_path: Path):
    path = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
    layer = lora((24, 20), 4, 4.0, 0)
    tensors = {
        f"{path}.lora_A.weight": layer["lora_down.weight"],
        f"{path}.lora_B.weight": layer["lora_up.weight"],
    }
    source = tmp_path / "a.safetensors"
    save_file(tensors, source)
    out = tmp_path / "b.safetensors"
    assert main(["file", "resize", str(source), str(out), "--rank", "2"]) == 0
    found = load_file(out)
    assert set(found) == set(tensors)
    u, s, v = torch.linalg.svd(delta(layer), full_matrices=False)
    best = (u[:, :2] * s[:2]) @ v[:2]
    product = found[f"{path}.lora_B.weight"] @ found[f"{path}.lora_A.weight"]
    assert torch.allclose(product.double(), best, atol=1e-5)


def test_real_file_gets_the_truncated_svd_of_each_layer(reference: Path, tmp_path: Path):
    source, out = reference / "real-loras" / "sd-lora.safetensors", tmp_path / "o.safetensors"
    assert main(["file", "resize", str(source), str(out), "--rank", "2"]) == 0
    old, new = load_file(source), load_file(out)
    names = [n for n in new if n.endswith("lora_A.weight")]
    assert len(names) == 128
    for name in names[::8]:
        path = name.removesuffix(".lora_A.weight")
        full = old[f"{path}.lora.up.weight"] @ old[f"{path}.lora.down.weight"]
        u, s, v = torch.linalg.svd(full, full_matrices=False)
        found = new[f"{path}.lora_B.weight"] @ new[name]
        assert (found - (u[:, :2] * s[:2]) @ v[:2]).norm() < 1e-5 * full.norm()
