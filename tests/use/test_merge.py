"""``renma file merge``: sums beside the sums of the written-out updates."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from renma.cli import main
from renma.engine import low_rank
from renma.engine.low_rank import Factors
from renma.formats import lora_file
from renma.use.merge import parse
from testbed.lora_files import (
    CONV,
    NORM,
    POINT,
    SHAPES,
    TEXT,
    Q,
    close,
    delta,
    loha,
    lokr,
    lora,
    merged,
    write,
)


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
        # not the cut matrix itself: where two singular values are close, rounding turns it
        least = torch.linalg.svdvals(whole)[8:].norm()
        assert (delta(short[key]) - whole).norm() <= least * (1 + 1e-6)
        assert torch.linalg.matrix_rank(delta(short[key]), rtol=1e-5) == 8


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
