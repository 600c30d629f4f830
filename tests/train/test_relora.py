"""ReLoRA in training: merges, resume, files, state, what is said (row A9)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from renma.config.model import ModelConfig
from renma.core.errors import UserError
from renma.engine.cycles import CycledNetwork
from renma.engine.model import load_family
from renma.engine.network import Network
from renma.formats import safetensors
from testbed.runs import final, losses, rows, train
from testbed.trainers import trainer

CYCLES = (
    "relora.every_steps=2", "train.max_steps=6", "train.text_encoder=false", "train.seed=0",
)  # fmt: skip
FP32 = "output.precision=fp32"


def output(family) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(1, 4, 8, 8, generator=generator).to(family.dtype)
    states = torch.randn(1, 77, family.unet.config.cross_attention_dim, generator=generator)
    with torch.no_grad():
        found = family.unet(x, torch.tensor([300]), states.to(family.dtype)).sample
    return found.float()


def steps(one, count: int) -> None:
    for _ in range(count):
        one.step()


def test_a_run_tells_its_merges_which_change_nothing(project: Path):
    """A9: the merge changes the output by less than 1e-5 in float32; the rank grows beyond r."""
    out = train(project, "a", *CYCLES, FP32)
    merged = rows(out, "merged")
    assert [(row["step"], row["cycle"]) for row in merged] == [(2, 1), (4, 2)]
    assert all(row["change"] < 1e-5 for row in merged)
    assert all(row["norm"] > 0 for row in merged)
    assert merged[1]["held"] == 4
    assert merged[1]["rank"] > 2
    assert merged[1]["total_norm"] > merged[0]["total_norm"]
    assert {row["step"] for row in rows(out, "step")} == {1, 2, 3, 4, 5, 6}


def test_a_merge_comes_before_the_next_cycle_and_never_after_the_last(project: Path, mame):
    with trainer(project, mame, *CYCLES) as one:
        network: Any = one.network
        steps(one, 2)
        assert network.cycles == 0
        ups = [m.adapter.up.detach().clone() for m in network.members.values()]
        assert any(up.any() for up in ups)
        steps(one, 1)
        assert network.cycles == 1
        held = [past.factors for past in network.past.values()]
        scale = next(iter(network.members.values())).adapter.scale
        assert all(torch.equal(f.up, up * scale) for f, up in zip(held, ups, strict=True) if f)
        steps(one, 3)
        assert network.cycles == 2


def test_the_optimizer_begins_anew_and_rates_fall_from_cycle_to_cycle(project: Path, mame):
    with trainer(project, mame, *CYCLES, "relora.rate_factor=0.5") as one:
        steps(one, 2)
        assert {float(s["step"]) for s in one.optimizer.state.values()} == {2.0}
        assert one.rates() == {"unet": 1e-3}
        steps(one, 1)
        assert {float(s["step"]) for s in one.optimizer.state.values()} == {1.0}
        assert one.rates() == {"unet": 5e-4}


def test_a_step_after_a_merge_is_the_first_step_of_a_lora_on_the_merged_model(project: Path, mame):
    """Nothing of the first cycle is left but the weights: gradients are those of a fresh start."""
    with trainer(project, mame, *CYCLES) as one:
        steps(one, 3)
        network: Any = one.network
        member = next(iter(network.members.values()))
        # Adam's first step moves every number by its rate, away from zero for B
        moved = member.adapter.up.detach().abs()
        assert moved[moved > 0].max() == pytest.approx(1e-3, rel=1e-3)


@pytest.mark.parametrize(
    ("values", "stop"),
    [
        ((), 2),
        (("relora.where=beside", "relora.rate_factor=0.7"), 3),
        (("train.precision=bf16", 'adapter={algo="lora_fa",rank=2,alpha=2}'), 3),
        (("model.quantize=nf4", "optimizer.name=adamw8bit", "relora.reset=magnitude"), 3),
        (("optimizer.name=adamwschedulefree",), 3),
    ],
    ids=["right before a merge", "beside", "bf16", "nf4", "averaging"],
)
def test_resumed_is_undisturbed_bit_by_bit(project: Path, values, stop):
    short = ("train.max_steps=4", "train.save_every_steps=0")
    straight = train(project, "a", *CYCLES, *values, *short)
    train(project, "b", *CYCLES, *values, *short, f"train.max_steps={stop}")
    resumed = train(project, "b", *CYCLES, *values, *short, resume=True)
    assert losses(resumed) == losses(straight)
    assert final(resumed) == final(straight)


@pytest.mark.parametrize(
    ("values", "close"),
    [((), 1e-3), (("train.precision=bf16",), 0.1), (("model.quantize=int8",), 1e-3)],
    ids=["fp32", "bf16", "int8"],
)
def test_the_file_on_the_plain_base_is_the_model_in_training(project: Path, mame, values, close):
    """All cycles lie in the file, relative to the original base (A13)."""
    fast = "optimizer.learning_rate=1e-2"
    out = train(project, "a", *CYCLES, FP32, fast, *values)
    from renma.config import load_run

    run = load_run(out / "run.toml")
    options: Any = {"device": "cpu", "precision": run.train.precision}
    family: Any = load_family(ModelConfig(quantize=run.model.quantize), **options)
    plain = output(family)
    with Network.from_file(family, out / "lora" / "lora.safetensors").at():
        loaded = output(family)
    other: Any = load_family(ModelConfig(quantize=run.model.quantize), **options)
    with trainer(project, other, *CYCLES, FP32, fast, *values) as one:
        steps(one, 6)
        in_training = output(other)
    assert (loaded - plain).abs().max() > 0.05
    assert (loaded - in_training).norm() < close * (loaded - plain).norm()


def test_the_file_has_all_cycles_and_says_its_rank(project: Path):
    out = train(project, "a", *CYCLES, "train.save_every_steps=2")
    held = {}
    for path in sorted((out / "lora").iterdir()):
        metadata = safetensors.read_header(path)[1]
        downs = [t for n, t in safetensors.read_tensors(path).items() if "lora_down" in n]
        ranks = {t.shape[0] for t in downs}
        assert metadata["ss_network_dim"] == str(max(ranks))
        assert len(ranks) == 1
        held[path.name] = (max(ranks), metadata.get("ss_network_args", "{}"))
    assert [rank for rank, _ in held.values()] == [2, 4, 6]
    assert json.loads(held["lora.safetensors"][1]) == {"relora_cycles": "3"}


def test_a_longer_run_merges_where_it_would_have(project: Path):
    """The last cycle is not merged; gone on with, the run merges it and is the longer run."""
    straight = train(project, "a", *CYCLES)
    train(project, "b", *CYCLES, "train.max_steps=4")
    assert [row["step"] for row in rows(project / "b", "merged")] == [2]
    longer = train(project, "b", *CYCLES, resume=True)
    assert [row["step"] for row in rows(longer, "merged")] == [2, 4]
    assert final(longer) == final(straight)


def test_the_files_rank_can_be_cut_and_that_may_change_on_resume(project: Path):
    train(project, "a", *CYCLES, "train.max_steps=5")
    out = train(project, "a", *CYCLES, "relora.file_rank=3", resume=True)
    tensors = safetensors.read_tensors(out / "lora" / "lora.safetensors")
    assert {t.shape[0] for n, t in tensors.items() if "lora_down" in n} == {3}


def test_a_preview_at_weight_zero_is_the_original_base(project: Path, mame):
    with trainer(project, mame, *CYCLES, "optimizer.learning_rate=1e-2") as one:
        assert isinstance(one.network, CycledNetwork)
        steps(one, 5)
        with one.network.at(unet=0.0, text_encoder=0.0):
            off = output(mame)
        on = output(mame)
        one.network.detach()
        plain = output(mame)
        one.network.attach()
        assert torch.equal(output(mame), on)
    assert (on - plain).abs().max() > 0.05
    torch.testing.assert_close(off, plain, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (('adapter={algo="loha",rank=2}',), "ReLoRA cannot train adapter.algo = 'loha'"),
        (('adapter={algo="dylora",rank=2}',), "could not be cut"),
        (('adapter={rank=2,dora="output"}',), "cannot merge DoRA"),
        (('adapter={rank=2,start="pissa"}',), "begins with a part of the weight"),
        (("adapter.min_timestep_rank=1",), "T-LoRA"),
        (("optimizer.name=adafactor", "optimizer.relative_step=false", "relora.reset=magnitude"),
         "adafactor remembers other things"),
    ],
)  # fmt: skip
def test_what_cannot_be_merged_is_refused_before_anything_is_loaded(project, values, message):
    with pytest.raises(UserError, match=message):
        train(project, "a", *CYCLES, *values)
    assert not (project / "a" / "lora").exists() or not any((project / "a" / "lora").iterdir())
