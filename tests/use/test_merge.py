"""``renma file merge``: sums beside the sums of the written-out updates."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from renma import assets
from renma.cli import main
from renma.formats import lora_file
from renma.use import low_rank
from renma.use.low_rank import Factors
from renma.use.merge import parse

Q = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
POINT = "lora_unet_mid_block_attentions_0_proj_in"
CONV = "lora_unet_mid_block_resnets_0_conv1"
TEXT = "lora_te_text_model_encoder_layers_0_mlp_fc1"
NORM = "lora_unet_mid_block_resnets_0_norm1"
# the shapes of these layers in mame, so that the same files merge into it
SHAPES = {Q: (128, 128), POINT: (128, 128, 1, 1), CONV: (128, 128, 3, 3), TEXT: (512, 128)}

Layer = dict[str, Tensor]


def lora(key: str, rank: int, alpha: float, seed: int) -> Layer:
    g, shape = torch.Generator().manual_seed(seed), SHAPES[key]
    up = torch.randn(shape[0], rank, generator=g) * 0.05
    up = up[:, :, None, None] if len(shape) == 4 else up
    down = torch.randn(rank, *shape[1:], generator=g) * 0.05
    return {"lora_up.weight": up, "lora_down.weight": down, "alpha": torch.tensor(alpha)}


def loha(key: str, rank: int, alpha: float, seed: int) -> Layer:
    g = torch.Generator().manual_seed(seed)
    outputs, columns = SHAPES[key][0], torch.Size(SHAPES[key][1:]).numel()
    sizes = {"hada_w1_a": (outputs, rank), "hada_w1_b": (rank, columns),
             "hada_w2_a": (outputs, rank), "hada_w2_b": (rank, columns)}  # fmt: skip
    found = {name: torch.randn(size, generator=g) * 0.2 for name, size in sizes.items()}
    return {**found, "alpha": torch.tensor(alpha)}


def lokr(key: str, seed: int) -> Layer:
    """Full factors, as LyCORIS writes them with full_matrix: alpha means nothing."""
    g, shape = torch.Generator().manual_seed(seed), SHAPES[key]
    w2 = torch.randn(shape[0] // 8, shape[1] // 8, *shape[2:], generator=g) * 0.05
    return {"lokr_w1": torch.randn(8, 8, generator=g), "lokr_w2": w2, "alpha": torch.tensor(4.0)}


def delta(layer: Layer) -> Tensor:
    """The update as a float64 matrix, written out from the papers' formulas."""
    w = {name: tensor.double() for name, tensor in layer.items()}
    if "diff" in w:
        return w["diff"].flatten(1)
    if "lora_up.weight" in w:
        up, down = w["lora_up.weight"].flatten(1), w["lora_down.weight"].flatten(1)
        return float(w["alpha"]) / len(down) * up @ down
    if "hada_w1_a" in w:
        scale = float(w["alpha"]) / len(w["hada_w1_b"])
        return scale * (w["hada_w1_a"] @ w["hada_w1_b"]) * (w["hada_w2_a"] @ w["hada_w2_b"])
    w1 = w["lokr_w1"].reshape(8, 8, *[1] * (w["lokr_w2"].dim() - 2))
    return torch.kron(w1, w["lokr_w2"]).flatten(1)


def write(path: Path, layers: dict[str, Layer], metadata=None, dtype=torch.float32) -> Path:
    flat = {
        f"{k}.{s}": t.to(dtype).contiguous() for k, row in layers.items() for s, t in row.items()
    }
    save_file(flat, path, metadata)
    return path


def merged(out: Path, *arguments: str) -> dict[str, Layer]:
    assert main(["file", "merge", *arguments, "-o", str(out)]) == 0
    return lora_file.read(out).layers


def close(found: Tensor, expected: Tensor) -> bool:
    return bool((found - expected).norm() <= 1e-5 * expected.norm())


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    a = {Q: lora(Q, 4, 2.0, 0), POINT: lora(POINT, 4, 2.0, 1), CONV: lora(CONV, 4, 2.0, 2)}
    b = {Q: lora(Q, 6, 6.0, 3), CONV: lora(CONV, 2, 1.0, 4), TEXT: lora(TEXT, 6, 6.0, 5)}
    shared = {"ss_base_model_version": "sd_v1", "ss_v2": "False", "ss_sd_model_name": "base.ckpt"}
    tags = {"ss_tag_frequency": '{"x": {"tag": 3}}', "ss_seed": "1"}
    first = write(tmp_path / "a.safetensors", a, {**shared, **tags, "ss_network_dim": "4"})
    second = write(tmp_path / "b.safetensors", b, {**shared, "ss_network_dim": "6"})
    return first, second


def test_sum_is_exact_and_ranks_add_up(files, tmp_path: Path, capfd):
    a, b = (lora_file.read(f).layers for f in files)
    out = merged(tmp_path / "o.safetensors", f"{files[0]}:0.7", f"{files[1]}:-0.4")
    assert set(out) == set(a) | set(b)
    assert close(delta(out[Q]), 0.7 * delta(a[Q]) - 0.4 * delta(b[Q]))
    assert close(delta(out[CONV]), 0.7 * delta(a[CONV]) - 0.4 * delta(b[CONV]))
    assert close(delta(out[POINT]), 0.7 * delta(a[POINT]))
    assert close(delta(out[TEXT]), -0.4 * delta(b[TEXT]))
    assert out[Q]["lora_down.weight"].shape == (10, 128)
    assert out[CONV]["lora_down.weight"].shape == (6, 128, 3, 3)
    assert out[CONV]["lora_up.weight"].shape == (128, 6, 1, 1)
    assert float(out[Q]["alpha"]) == 10
    assert "0.7 x a.safetensors + -0.4 x b.safetensors" in capfd.readouterr().out


def test_metadata_names_files_and_leaves_training_facts_out(files, tmp_path: Path):
    merged(tmp_path / "both.safetensors", f"{files[0]}:0.7", f"{files[1]}:0.4")
    found = lora_file.read(tmp_path / "both.safetensors").metadata
    assert found["modelspec.merged_from"] == "a.safetensors, b.safetensors"
    assert found["modelspec.title"] == "both"
    assert found["ss_training_comment"] == "merged: 0.7 x a.safetensors + 0.4 x b.safetensors"
    assert found["ss_network_dim"] == found["ss_network_alpha"] == "Dynamic"
    assert found["ss_network_module"] == "networks.lora"
    assert found["ss_base_model_version"] == "sd_v1"
    assert found["ss_sd_model_name"] == "base.ckpt"
    assert not {"ss_tag_frequency", "ss_seed"} & found.keys()
    assert str(tmp_path) not in json.dumps(found)
    assert len(found["sshs_model_hash"]) == 64


def test_one_file_with_weight_one_is_itself(files, tmp_path: Path):
    mixed = {
        Q: loha(Q, 3, 1.0, 0),
        POINT: lokr(POINT, 1),
        TEXT: {**lora(TEXT, 2, 1.0, 2), "dora_scale": torch.rand(512, 1)},
    }
    source = write(tmp_path / "m.safetensors", mixed)
    for path in (files[0], source):
        out = merged(tmp_path / "o.safetensors", str(path))
        before = lora_file.read(path).layers
        assert {k: set(row) for k, row in out.items()} == {k: set(row) for k, row in before.items()}
        assert all(torch.equal(out[k][s], t) for k, row in before.items() for s, t in row.items())


def test_a_layer_of_one_file_keeps_its_algorithm(tmp_path: Path):
    layers = {
        Q: loha(Q, 3, 1.0, 0),
        POINT: lokr(POINT, 1),
        NORM: {"w_norm": torch.randn(128), "b_norm": torch.randn(128)},
    }
    source = write(tmp_path / "m.safetensors", layers)
    out = merged(tmp_path / "o.safetensors", f"{source}:-0.5")
    assert set(out[Q]) == set(layers[Q])
    for key in (Q, POINT):
        assert close(delta(out[key]), -0.5 * delta(layers[key]))
    assert torch.allclose(out[NORM]["b_norm"], -0.5 * layers[NORM]["b_norm"])
    assert (
        lora_file.read(tmp_path / "o.safetensors").metadata["ss_network_module"] == "lycoris.kohya"
    )


def test_algorithms_mix_exactly(tmp_path: Path):
    a = {Q: loha(Q, 3, 1.5, 0), POINT: loha(POINT, 12, 6.0, 1), CONV: loha(CONV, 2, 1.0, 2)}
    b = {Q: lora(Q, 4, 2.0, 3), POINT: lora(POINT, 4, 2.0, 4), CONV: lokr(CONV, 5)}
    first, second = write(tmp_path / "a.safetensors", a), write(tmp_path / "b.safetensors", b)
    out = merged(tmp_path / "o.safetensors", f"{first}:2", f"{second}:-1")
    for key in a:
        assert close(delta(out[key]), 2 * delta(a[key]) - delta(b[key]))
    assert out[Q]["lora_down.weight"].shape[0] == 3 * 3 + 4
    assert set(out[POINT]) == {"diff"}, "rank 144 is not below the layer's 128"
    assert out[CONV]["diff"].shape == SHAPES[CONV]
    short = merged(tmp_path / "s.safetensors", f"{first}:2", f"{second}:-1", "--rank", "8")
    for key in a:
        whole = 2 * delta(a[key]) - delta(b[key])
        u, s, v = torch.linalg.svd(whole, full_matrices=False)
        assert close(delta(short[key]), (u[:, :8] * s[:8]) @ v[:8])


def test_ranks_beyond_the_layer_are_the_same_update_in_fewer(tmp_path: Path):
    a, b = ({Q: lora(Q, 80, 80.0, seed)} for seed in (0, 1))
    first, second = write(tmp_path / "a.safetensors", a), write(tmp_path / "b.safetensors", b)
    out = merged(tmp_path / "o.safetensors", str(first), str(second))
    assert out[Q]["lora_down.weight"].shape == (128, 128)
    assert close(delta(out[Q]), delta(a[Q]) + delta(b[Q]))


def test_rank_gives_the_best_approximation_and_says_its_error(files, tmp_path: Path, capfd):
    a, b = (lora_file.read(f).layers for f in files)
    out = merged(tmp_path / "o.safetensors", f"{files[0]}:0.7", f"{files[1]}:0.4", "--rank", "3")
    lost = whole = 0.0
    for key in out:
        full = 0.7 * delta(a[key]) if key in a else 0 * delta(b[key])
        full = full + 0.4 * delta(b[key]) if key in b else full
        u, s, v = torch.linalg.svd(full, full_matrices=False)
        assert close(delta(out[key]), (u[:, :3] * s[:3]) @ v[:3])
        lost, whole = lost + s[3:].square().sum().item(), whole + s.square().sum().item()
    assert f"error of the shortening: {(lost / whole) ** 0.5:.2e}" in capfd.readouterr().out
    assert lora_file.read(tmp_path / "o.safetensors").metadata["ss_network_dim"] == "3"


def test_peft_computes_the_same_sum(tmp_path: Path):
    """PEFT's add_weighted_adapter(combination_type='cat') on the same two LoRAs."""
    from peft import LoraConfig, get_peft_model

    class Block(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.to_q = torch.nn.Linear(128, 128, bias=False)

    a, b = lora(Q, 4, 2.0, 0), lora(Q, 6, 6.0, 1)
    model = get_peft_model(Block(), LoraConfig(r=4, lora_alpha=2, target_modules=["to_q"]), "one")
    model.add_adapter("two", LoraConfig(r=6, lora_alpha=6, target_modules=["to_q"]))
    layer = model.base_model.model.to_q
    for name, row in (("one", a), ("two", b)):
        layer.lora_A[name].weight.data = row["lora_down.weight"]
        layer.lora_B[name].weight.data = row["lora_up.weight"]
    model.add_weighted_adapter(["one", "two"], [0.7, 0.4], "sum", combination_type="cat")
    first, second = (
        write(tmp_path / "a.safetensors", {Q: a}),
        write(tmp_path / "b.safetensors", {Q: b}),
    )
    out = merged(tmp_path / "o.safetensors", f"{first}:0.7", f"{second}:0.4")
    assert close(delta(out[Q]), layer.get_delta_weight("sum").detach().double())


@settings(max_examples=40, deadline=None)
@given(
    ranks=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    weights=st.lists(st.floats(-2, 2), min_size=4, max_size=4),
    seed=st.integers(0, 99),
    order=st.permutations(range(4)),
)
def test_sum_does_not_depend_on_the_order(ranks, weights, seed, order):
    g = torch.Generator().manual_seed(seed)
    parts = [
        Factors(torch.randn(7, r, generator=g), torch.randn(r, 9, generator=g)).times(w)
        for r, w in zip(ranks, weights, strict=False)
    ]
    expected = sum((p.up.double() @ p.down.double() for p in parts), torch.zeros(7, 9).double())
    shuffled = [parts[i] for i in order if i < len(parts)]
    for some in (parts, shuffled):
        stacked = low_rank.stack(some)
        assert stacked.rank == sum(ranks)
        assert torch.allclose(stacked.product().double(), expected, atol=1e-5)
        assert low_rank.spectrum(stacked).norm == pytest.approx(expected.norm().item(), abs=1e-5)


def test_order_of_files_does_not_change_a_short_sum(files, tmp_path: Path):
    terms = [f"{files[0]}:0.7", f"{files[1]}:0.4"]
    one = merged(tmp_path / "1.safetensors", *terms, "--rank", "3")
    two = merged(tmp_path / "2.safetensors", *reversed(terms), "--rank", "3")
    for key in one:
        assert close(delta(one[key]), delta(two[key]))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.safetensors:0.7", ("a.safetensors", 0.7)), ("a.safetensors", ("a.safetensors", 1.0)),
        ("C:\\a.safetensors", ("C:\\a.safetensors", 1.0)), ("b:-1", ("b", -1.0)), ("x:1e-1", ("x", 0.1)),
        ("C:\\a.safetensors:2", ("C:\\a.safetensors", 2.0)),
    ],
)  # fmt: skip
def test_file_and_weight_are_told_apart(text, expected):
    assert parse(text) == (Path(expected[0]), expected[1])


@pytest.mark.parametrize(
    "layer",
    [
        {**lora(Q, 2, 1.0, 0), "dora_scale": torch.ones(128, 1)},
        {"weight": torch.ones(128), "on_input": torch.tensor(0)},
        {"oft_blocks": torch.zeros(32, 4, 4), "alpha": torch.tensor(0.0)},
    ],
)
@pytest.mark.parametrize("weight", ["0.5", "1"])
def test_what_depends_on_the_base_is_refused_with_the_way_out(
    files, tmp_path, capfd, layer, weight
):
    source = write(tmp_path / "d.safetensors", {Q: layer})
    others = [] if weight == "0.5" else [str(files[0])]
    out = tmp_path / "o.safetensors"
    assert main(["file", "merge", f"{source}:{weight}", *others, "-o", str(out)]) == 2
    err = capfd.readouterr().err
    assert len(err.splitlines()) == 1
    assert "--base" in err
    assert "file convert" in err
    assert Q in err
    assert not out.exists()


def test_mistakes_are_one_line(files, tmp_path: Path, capfd):
    wrong = write(
        tmp_path / "w.safetensors",
        {Q: {"lora_up.weight": torch.ones(8, 2), "lora_down.weight": torch.ones(2, 8)}},
    )
    nan = lora(Q, 2, 1.0, 0)
    nan["lora_up.weight"][0, 0] = float("nan")
    broken = write(tmp_path / "n.safetensors", {Q: nan})
    out = str(tmp_path / "o.safetensors")
    for arguments, message in (
        ([str(files[0]), str(wrong)], "has shapes"),
        ([str(files[0]), str(broken)], "holds NaN"),
        ([f"{files[0]}:nan"], "'nan' is no weight"),
        ([f"{files[0]}:0"], "nothing to write"),
        ([str(tmp_path / "none.safetensors")], "no such file"),
        ([str(files[0]), "--base", "mame", "--rank", "2"], "no meaning with --base"),
        ([str(files[0]), "--base", str(tmp_path / "none")], "no such folder"),
    ):
        assert main(["file", "merge", *arguments, "-o", out]) == 2
        err = capfd.readouterr().err
        assert message in err
        assert len(err.splitlines()) == 1
        assert not Path(out).exists()


def test_half_precision_stays_and_overflow_is_refused(tmp_path: Path, capfd):
    a = write(tmp_path / "a.safetensors", {Q: lora(Q, 2, 1.0, 0)}, dtype=torch.float16)
    b = write(tmp_path / "b.safetensors", {Q: lora(Q, 2, 1.0, 1)}, dtype=torch.float16)
    out = tmp_path / "o.safetensors"
    row = merged(out, str(a), str(b))[Q]
    assert {t.dtype for t in row.values()} == {torch.float16}
    assert merged(out, str(a), str(b), "--precision", "bf16")[Q]["alpha"].dtype == torch.bfloat16
    capfd.readouterr()
    assert main(["file", "merge", f"{a}:1e12", str(b), "-o", str(tmp_path / "x.safetensors")]) == 2
    assert "--precision fp32" in capfd.readouterr().err


# into a model


def test_into_a_model(files, tmp_path: Path, capfd):
    out = tmp_path / "model"
    words = [
        "file",
        "merge",
        f"{files[0]}:0.7",
        f"{files[1]}:-0.4",
        "--base",
        "mame",
        "-o",
        str(out),
    ]
    assert main(words) == 0
    a, b = (lora_file.read(f).layers for f in files)
    paths = {Q: "mid_block.attentions.0.transformer_blocks.0.attn1.to_q", POINT: "mid_block.attentions.0.proj_in",
             CONV: "mid_block.resnets.0.conv1"}  # fmt: skip
    place = Path("unet/diffusion_pytorch_model.safetensors")
    old, new = load_file(assets.MAME / place), load_file(out / place)
    assert list(old) == list(new)
    changed = set()
    for key, path in paths.items():
        expected = old[f"{path}.weight"].double().flatten(1) + 0.7 * delta(a[key])
        expected = expected - 0.4 * delta(b[key]) if key in b else expected
        found = new[f"{path}.weight"]
        assert found.dtype == torch.float16
        assert torch.allclose(found.double().flatten(1), expected, atol=1e-7, rtol=2**-10)
        changed.add(f"{path}.weight")
    assert {name for name in old if not torch.equal(old[name], new[name])} == changed
    place = Path("text_encoder/model.safetensors")
    old, new = load_file(assets.MAME / place), load_file(out / place)
    assert {n for n in old if not torch.equal(old[n], new[n])} == {
        "encoder.layers.0.mlp.fc1.weight"
    }
    files_of = [
        sorted(p.relative_to(f) for p in f.rglob("*") if p.is_file()) for f in (assets.MAME, out)
    ]
    assert files_of[0] == files_of[1]
    assert list(tmp_path.glob(".*")) == [], "nothing half made is left"
    assert main(words) == 2
    assert "is there already" in capfd.readouterr().err


def test_the_merged_model_loads_and_weight_zero_is_the_base(files, tmp_path: Path):
    from diffusers import UNet2DConditionModel

    out = tmp_path / "model"
    words = ["--base", "mame", "-o", str(out), "--precision", "fp32"]
    assert main(["file", "merge", f"{files[0]}:0", *words]) == 0
    merged_unet = UNet2DConditionModel.from_pretrained(out / "unet")
    assert merged_unet.dtype == torch.float32
    old = load_file(assets.MAME / "unet/diffusion_pytorch_model.safetensors")
    assert all(torch.equal(t, old[n].float()) for n, t in merged_unet.state_dict().items())


def test_what_depends_on_the_base_merges_into_it(tmp_path: Path):
    g = torch.Generator().manual_seed(0)
    dora = {**lora(Q, 2, 1.0, 0), "dora_scale": torch.rand(128, 1, generator=g) + 0.5}
    scale = torch.randn(128, generator=g) * 0.1
    ia3 = {"weight": scale, "on_input": torch.tensor(0)}
    source = write(
        tmp_path / "d.safetensors",
        {Q: dora, POINT: {k: v.reshape(1, -1, 1, 1) if v.dim() else v for k, v in ia3.items()}},
    )
    out = tmp_path / "model"
    assert (
        main(
            [
                "file",
                "merge",
                f"{source}:0.5",
                "--base",
                "mame",
                "-o",
                str(out),
                "--precision",
                "fp32",
            ]
        )
        == 0
    )
    place = "unet/diffusion_pytorch_model.safetensors"
    old, new = load_file(assets.MAME / place), load_file(out / place)
    name = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q.weight"
    w = old[name].double()
    moved = w + delta(dora)
    full = dora["dora_scale"].double() * moved / moved.norm(dim=1, keepdim=True)
    assert torch.allclose(new[name].double(), w + 0.5 * (full - w), atol=1e-6)
    name = "mid_block.attentions.0.proj_in.weight"
    assert torch.allclose(
        new[name], old[name].float() * (1 + 0.5 * scale[:, None, None, None]), atol=1e-6
    )


def test_a_lora_for_another_model_is_refused(files, tmp_path: Path, capfd):
    other = write(
        tmp_path / "x.safetensors",
        {Q.replace("mid_block_attentions_0", "down_blocks_3_attentions_0"): lora(Q, 2, 1.0, 0)},
    )
    out = tmp_path / "model"
    assert main(["file", "merge", str(other), "--base", "mame", "-o", str(out)]) == 2
    assert "layers that the model does not have" in capfd.readouterr().err
    bad = write(
        tmp_path / "y.safetensors",
        {Q: {"lora_up.weight": torch.ones(8, 2), "lora_down.weight": torch.ones(2, 8)}},
    )
    assert main(["file", "merge", str(bad), "--base", "mame", "-o", str(out)]) == 2
    err = capfd.readouterr().err
    assert "does not fit the model" in err
    assert not out.exists()
    assert list(tmp_path.glob(".*")) == []


def test_real_files_of_two_namings_add_up(reference: Path, tmp_path: Path):
    folder = reference / "real-loras"
    first, second = folder / "pokemon-diffusers.safetensors", folder / "sd-lora.safetensors"
    out = tmp_path / "o.safetensors"
    assert main(["file", "merge", f"{first}:0.7", f"{second}:0.4", "-o", str(out)]) == 0
    old, new, found = load_file(first), load_file(second), load_file(out)
    assert len(found) == 256
    for name in [n for n in found if n.endswith("lora_A.weight")]:
        path = name.removesuffix(".lora_A.weight")
        block, _, last = path.removeprefix("unet.").rpartition(".attn")
        which = f"attn{last.removesuffix('.0').replace('.to_', '.processor.to_')}_lora"
        a = old[f"{block}.{which}.up.weight"] @ old[f"{block}.{which}.down.weight"]
        b = new[f"{path}.lora.up.weight"] @ new[f"{path}.lora.down.weight"]
        total = found[f"{path}.lora_B.weight"] @ found[name]
        assert close(total, 0.7 * a + 0.4 * b)
        assert found[name].shape[0] == 8


def test_eight_bit_factors_add_up_in_half_precision(tmp_path: Path):
    row = {n: t.to(torch.float8_e4m3fn) if t.dim() else t for n, t in lora(Q, 2, 2.0, 0).items()}
    save_file({f"{Q}.{n}": t for n, t in row.items()}, tmp_path / "a.safetensors")
    source = str(tmp_path / "a.safetensors")
    out = merged(tmp_path / "o.safetensors", source, source)[Q]
    assert out["lora_up.weight"].dtype == torch.float16
    assert (delta(out) - 2 * delta(row)).norm() < 1e-3 * delta(row).norm()


# numbers


def test_weights_of_bias_differences_add_up(tmp_path: Path):
    """Two files of LyCORIS' full algorithm: each bias by its own file's weight."""
    g = torch.Generator().manual_seed(0)
    a, b = (
        {Q: {"diff": torch.randn(SHAPES[Q], generator=g), "diff_b": torch.randn(128, generator=g)}}
        for _ in range(2)
    )
    first, second = write(tmp_path / "a.safetensors", a), write(tmp_path / "b.safetensors", b)
    out = merged(tmp_path / "o.safetensors", f"{first}:0.7", f"{second}:0.4")
    assert torch.allclose(out[Q]["diff_b"], 0.7 * a[Q]["diff_b"] + 0.4 * b[Q]["diff_b"], atol=1e-6)
    assert torch.allclose(out[Q]["diff"], 0.7 * a[Q]["diff"] + 0.4 * b[Q]["diff"], atol=1e-6)


def test_an_alpha_that_the_precision_cannot_hold_stays_wide(tmp_path: Path):
    layers = {Q: lora(Q, 2, 257.0, 0), TEXT: lora(TEXT, 2, 2.0, 1)}
    source = write(tmp_path / "a.safetensors", layers)
    out = merged(tmp_path / "o.safetensors", str(source), "--precision", "bf16")
    assert out[Q]["alpha"].dtype == torch.float32
    assert float(out[Q]["alpha"]) == 257
    assert out[TEXT]["alpha"].dtype == out[Q]["lora_up.weight"].dtype == torch.bfloat16


@pytest.mark.parametrize("weight", [1e-4, -1e-4])
@pytest.mark.parametrize("kind", [lora, loha])
def test_a_small_weight_loses_no_digits_in_half_precision(tmp_path: Path, kind, weight):
    """Factors times 0.0001 would be subnormal numbers of fp16, which have few digits left."""
    layers = {Q: kind(Q, 4, 2.0, 0)}
    source = write(tmp_path / "a.safetensors", layers, dtype=torch.float16)
    before = delta(lora_file.read(source).layers[Q])
    out = merged(tmp_path / "o.safetensors", f"{source}:{weight}")[Q]
    assert (delta(out) - weight * before).norm() <= 1e-6 * abs(weight) * before.norm()
    assert {t.dtype for name, t in out.items() if name != "alpha"} == {torch.float16}
    half = merged(tmp_path / "h.safetensors", f"{source}:{weight}", "--precision", "fp16")[Q]
    assert close(delta(half), weight * before)
    assert float(out["alpha"]) > 0, "programs take a negative alpha for damage"


def test_a_weight_too_small_for_any_alpha_is_nothing(tmp_path: Path):
    """Alpha 0 would mean the rank: full strength."""
    source = write(tmp_path / "a.safetensors", {Q: lora(Q, 4, 2.0, 0)})
    out = merged(tmp_path / "o.safetensors", f"{source}:1e-60")
    assert delta(out[Q]).norm() == 0
    bare = {k: t for k, t in lora(Q, 4, 2.0, 0).items() if k != "alpha"}
    source = write(tmp_path / "b.safetensors", {Q: bare})
    out = merged(tmp_path / "o.safetensors", f"{source}:0.5")
    assert close(delta(out[Q]), 0.5 * delta({**bare, "alpha": torch.tensor(4.0)}))
