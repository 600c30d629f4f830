"""`renma plan memory`: its counts beside real optimizers, its total beside a measured run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from renma.cli.app import main
from renma.config import costs, load_run
from renma.config.adapter import IA3, DyLora, Full, GLora, LoHa, LoKr, Lora, LoraFA, Mora, Oft
from renma.config.estimate import trained
from renma.config.layer_table import choose
from renma.config.optimizer import AdamW, AdamW8bit, Prodigy
from renma.core.errors import UserError
from renma.train.plan import prepare

OPTIMIZERS = {"adamw": AdamW(), "adamw8bit": AdamW8bit(), "prodigy": Prodigy()}
ADAPTERS = {
    "lora": Lora(rank=4),
    "wide lora": Lora(rank=64, dora="output"),
    "lora_fa": LoraFA(rank=32),
    "loha": LoHa(rank=16),
    "lokr": LoKr(rank=2, factor=4),
    "ia3": IA3(),
    "dylora": DyLora(rank=4, unit=2),
    "mora": Mora(rank=8),
    "full": Full(),
    "glora": GLora(rank=4),
    "oft": Oft(rank=16),
}


def held_bytes(optimizer: torch.optim.Optimizer) -> int:
    """Bytes of all state tensors, shared ones counted once."""
    storages = {}
    for state in optimizer.state.values():
        for value in state.values():
            if isinstance(value, torch.Tensor):
                storages[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes()
    return sum(storages.values())


@pytest.mark.parametrize("name", ADAPTERS)
def test_state_of_real_optimizers_on_mames_network(mame, name):
    from renma import adapters, optimizers
    from renma.adapters._base import LayerSpec

    targets = mame.targets()
    choice = choose(ADAPTERS[name], [target.slot for target in targets.values()])
    generator = torch.Generator().manual_seed(0)
    starts, rows = [], []
    for slot, own, _ in choice:
        layer = targets[slot.name].layer
        adapter = adapters.build(LayerSpec.of(layer), own, generator)
        adapter.start(layer.weight.detach())
        starts += [p for p in adapter.parameters() if p.requires_grad]
        rows += trained(slot, own).items()
    for kind, config in OPTIMIZERS.items():
        parameters = [torch.nn.Parameter(start.detach().clone()) for start in starts]
        for parameter in parameters:
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimizer = optimizers.build([{"params": parameters, "lr": 1e-4}], config)
        optimizer.step()
        assert costs.state_bytes(kind, rows) == pytest.approx(held_bytes(optimizer), rel=0.02), kind


def plan(capsys, *words: str) -> dict:
    assert main(["plan", "memory", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_json_has_every_algorithm_and_rank(project: Path, capsys):
    from renma.core import registry

    run = str(project / "run.toml")
    found = plan(capsys, run, "--ranks", "2", "--ranks", "8")
    rows = {(row["algorithm"], row["rank"]): row for row in found["rows"]}
    assert {name for name, _ in rows} == {*registry.names("renma.adapters"), "lora + dora"}
    assert {rank for name, rank in rows if name == "lora"} == {2, 8}
    assert {rank for name, rank in rows if name in {"ia3", "full"}} == {None}
    own = prepare(load_run(project / "run.toml"), project).plan
    mine = rows["lora", 2]
    assert (mine["parameters"], mine["file_bytes"]) == (own.parameters, own.file_bytes)
    assert round(mine["total_mib"]) == own.memory_mib
    assert rows["lora", 8]["parameters"] == 4 * mine["parameters"]
    assert rows["loha", 2]["parameters"] == 2 * mine["parameters"]
    for row in rows.values():
        parts = ("runtime", "weights", "adapter", "gradients", "state", "activations")
        assert row["total_mib"] == pytest.approx(sum(row[f"{p}_mib"] for p in parts), abs=0.1)
        assert row["gradients_mib"] == pytest.approx(row["parameters"] * 4 / 2**20, abs=0.01)
        assert row["state_mib"] == row["state_mib_by_optimizer"]["adamw"]
    assert rows["lora_fa", 8]["activations_mib"] < rows["lora", 8]["activations_mib"]
    assert rows["lora_fa", 8]["adapter_mib"] == rows["lora", 8]["adapter_mib"]


def test_table_for_people_says_what_is_estimated(project: Path, capsys):
    assert main(["plan", "memory", str(project / "run.toml")]) == 0
    said = capsys.readouterr().out
    head, *rows = said.splitlines()
    assert head.split()[-2:] == ["activations*", "total*"]
    assert [row.split()[0] for row in rows if row][:3] == ["lora", "lora", "lora_fa"]
    assert "* Estimated from measurements" in said
    assert "Within 8 GB: all of them" in said


def test_options_of_the_run_hold_for_every_row(project: Path, capsys):
    run = str(project / "run.toml")
    all_parts = {r["algorithm"]: r["parameters"] for r in plan(capsys, run)["rows"]}
    values = ["--set", "train.text_encoder=false", "--set", "adapter.targets.preset=attention"]
    few = {r["algorithm"]: r["parameters"] for r in plan(capsys, run, *values)["rows"]}
    assert all(few[name] < count for name, count in all_parts.items())
    ranks = f"adapter.blocks.ranks=[{','.join(['8'] * 25)}]"
    blocks = plan(capsys, run, "--set", ranks)["rows"]
    assert blocks[0]["parameters"] > all_parts["lora"]
    text = "[module_algo_map.Transformer2DModel]\nfactor = 4\n"
    (project / "p.toml").write_text('unet_target_module = ["Transformer2DModel"]\n' + text)
    (project / "run.toml").write_text('[data]\ntrain_folder = "train"\n[adapter]\nalgo = "lokr"\n')
    preset = plan(capsys, run, "--set", "adapter.targets.preset_file=p.toml")["rows"]
    assert {row["algorithm"] for row in preset} == {"lokr", "lokr + dora"}


def test_none_fits_says_what_would_help(project: Path, capsys, monkeypatch):
    from renma.train import memory_plan

    monkeypatch.setattr(memory_plan, "LIMIT_MIB", 10)
    assert main(["plan", "memory", str(project / "run.toml")]) == 0
    assert (
        "Within 8 GB: none of them. What saves memory: train.precision" in capsys.readouterr().out
    )
    totals = sorted(
        (r["total_mib"], r["algorithm"]) for r in plan(capsys, str(project / "run.toml"))["rows"]
    )
    monkeypatch.setattr(memory_plan, "LIMIT_MIB", (totals[-2][0] + totals[-1][0]) / 2)
    assert main(["plan", "memory", str(project / "run.toml")]) == 0
    assert f"Within 8 GB: all but {totals[-1][1]}" in capsys.readouterr().out


@pytest.mark.parametrize("rank", ["0", "5000"])
def test_a_rank_that_is_none(project: Path, capsys, rank):
    assert main(["plan", "memory", str(project / "run.toml"), "--ranks", rank]) == 2
    assert "a rank is a number from 1 to 4096" in capsys.readouterr().err


ODD = {
    "adapter.conv_rank=2": "conv_rank has no effect: no 3x3",
    "adapter.tucker=true": "tucker has no effect: no 3x3",
    "adapter.blocks.down_rates=[1,1,1,1,1,1,1,1,1,1,1,1,1]": "13 numbers for 12 blocks",
    "adapter.blocks.mid_rates=0.5 train.unet=false": "blocks has no effect: the U-Net",
    "adapter.targets.on_input=['*']": "only (IA)3 scales inputs",
    "adapter.unet_lr_ratio=4 train.unet=false": "unet_lr_ratio has no effect",
    "adapter.dora_norm_gradient=true": "dora is off",
    "adapter.alpha=64": "alpha / rank = 32 is a strong scale",
}


@pytest.mark.parametrize("values", ODD)
def test_adapter_options_without_effect_are_named(project: Path, values):
    found = prepare(load_run(project / "run.toml", values.split()), project).plan.warnings
    assert any(ODD[values] in text for text in found), found
    assert not any(
        ODD[values] in t for t in prepare(load_run(project / "run.toml"), project).plan.warnings
    )


def test_convolutions_end_the_warning(project: Path):
    values = ["adapter.conv_rank=2", "adapter.targets.preset=conv"]
    found = prepare(load_run(project / "run.toml", values), project).plan.warnings
    assert not any("conv_rank" in text for text in found)


def test_layers_of_parts_that_are_not_trained(project: Path):
    values = ["adapter.targets.preset=unet-only", "train.unet=false"]
    with pytest.raises(UserError, match="outside of what is trained"):
        prepare(load_run(project / "run.toml", values), project)


def test_total_is_near_the_measured_peak(project: Path, capsys):
    """A process of its own, so that nothing else is in its peak."""
    algo, run = "loha", str(project / "run.toml")
    values = ["--set", f"adapter.algo={algo}", "--set", "train.max_steps=2"]
    planned = next(r for r in plan(capsys, run, *values)["rows"] if r["algorithm"] == algo)
    words = ["train", run, *values, "--out", str(project / "o")]
    code = f"import sys; from renma.cli.app import main; sys.exit(main({words!r}))"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    events = (project / "o" / "events.jsonl").read_text().splitlines()
    finished = json.loads(events[-1])
    assert finished["kind"] == "finished"
    assert 0.6 < planned["total_mib"] / finished["peak_memory_mib"] < 1.5


@pytest.mark.parametrize("storage", ["fp8", "int8", "nf4", "fp4"])
def test_few_bits_are_those_of_the_quantised_model(storage):
    """E7: the same layers as the engine replaces, and as many bytes as its tensors have."""
    from renma.config.model import ModelConfig
    from renma.engine.model import load_family
    from renma.engine.quantize import _Quantized

    plain = load_family(ModelConfig(), device="cpu").parts()["unet"].state_dict()
    unet = load_family(ModelConfig(quantize=storage), device="cpu").parts()["unet"]
    planned = {n: costs.few_bits(n, tuple(t.shape), storage) for n, t in plain.items()}
    replaced = {n: m for n, m in unet.named_modules() if isinstance(m, _Quantized)}
    assert {f"{name}.weight" for name in replaced} == {n for n, size in planned.items() if size}
    held = sum(layer.stored_bytes() for layer in replaced.values())
    assert sum(planned.values()) == pytest.approx(held, rel=0.03)


def test_every_optimizer_is_in_the_table(project: Path, capsys):
    """E3, A14: state in bytes for each trained number: 8 for AdamW, 2 for its 8-bit form, 4 for Lion."""
    row = plan(capsys, str(project / "run.toml"), "--ranks", "256")["rows"][0]
    each = {n: mib * 2**20 / row["parameters"] for n, mib in row["state_mib_by_optimizer"].items()}
    assert each.keys() == set(costs.OPTIMIZERS)
    assert each["adamw"] == pytest.approx(8, rel=0.01)
    assert each["adamw8bit"] == pytest.approx(2, rel=0.1)
    assert each["lion"] == pytest.approx(4, rel=0.01)
    assert each["lion8bit"] == pytest.approx(1, rel=0.2)
    assert each["adafactor"] < 0.2
    assert 12 <= each["prodigy"] <= 16
