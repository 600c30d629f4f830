"""[start] in the plan: what does not fit is named before anything is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from renma.config import load_run
from renma.config.adapter import LoHa, LoKr, Lora
from renma.core.errors import UserError
from renma.engine.network import Network
from renma.formats import lora_file, safetensors
from renma.train.plan import prepare


@pytest.fixture
def written(mame, project: Path):
    """Writes a network of an algorithm beside the run."""

    def write(config, name: str = "x.safetensors", parts=("unet", "text_encoder")) -> Network:
        network = Network.fresh(mame, config, 0, parts)
        safetensors.save(project / name, network.tensors(), {})
        return network

    return write


def plan(project: Path, *values: str):
    return prepare(load_run(project / "run.toml", values), project).plan


def test_ranks_from_file_are_the_plan(project: Path, written):
    network = written(LoKr(rank=2, factor=4))
    values = ["start.weights='x.safetensors'", "start.ranks_from_file=true"]
    found = plan(project, *values, "adapter.rank=77", "adapter.targets.preset=attention")
    count = sum(p.numel() for part in ("unet", "text_encoder") for p in network.parameters(part))
    assert found.parameters == count
    assert any("rank, targets have no effect" in text for text in found.warnings), found.warnings
    unet = plan(project, *values, "train.text_encoder=false")
    assert unet.parameters == sum(p.numel() for p in network.parameters("unet"))


def test_lora_fa_trains_half_of_a_file(project: Path, written):
    network = written(Lora(rank=2))
    found = plan(
        project, "start.weights='x.safetensors'", "start.ranks_from_file=true",
        "adapter={algo='lora_fa'}",
    )  # fmt: skip
    assert found.parameters == sum(member.adapter.up.numel() for member in network.members.values())


@pytest.mark.parametrize(
    "key", ["start.weights='x.safetensors'", "start.base_weights=['x.safetensors']"]
)
def test_a_lora_of_another_model_is_named(project: Path, key: str):
    name = "lora_unet_mid_block_attentions_0_proj_in"
    tensors = {
        f"{name}.lora_down.weight": torch.zeros(4, 320, 1, 1),
        f"{name}.lora_up.weight": torch.zeros(320, 4, 1, 1),
    }
    safetensors.save(project / "x.safetensors", tensors, {})
    with pytest.raises(UserError, match=r"of another size.*Is it a LoRA for this base model"):
        plan(project, key)
    renamed = {n.replace("mid_block", "input_blocks_4_1"): t for n, t in tensors.items()}
    safetensors.save(project / "x.safetensors", renamed, {})
    with pytest.raises(UserError, match="this model does not have"):
        plan(project, key)


def test_other_algorithms_and_ranks_are_named_with_the_way_out(project: Path, written):
    written(LoHa(rank=2))
    with pytest.raises(UserError, match=r"holds loha, and adapter.algo is lora.*'loha'"):
        plan(project, "start.weights='x.safetensors'")
    written(Lora(rank=2))
    with pytest.raises(UserError, match=r"has rank 2 .* adapter.rank is 8.*ranks_from_file"):
        plan(project, "start.weights='x.safetensors'", "adapter.rank=8")
    assert plan(project, "start.weights='x.safetensors'", "adapter.rank=2")
    assert plan(project, "start.weights='x.safetensors'", "adapter={algo='dylora',rank=2}")


def test_other_namings_are_read_too(project: Path, written):
    written(Lora(rank=2))
    file = lora_file.read(project / "x.safetensors")
    lora_file.write(project / "d.safetensors", file, naming="diffusers")
    assert plan(project, "start.weights='d.safetensors'", "adapter.rank=2")
    with pytest.raises(UserError, match="adapter.rank is 8"):
        plan(project, "start.weights='d.safetensors'", "adapter.rank=8")


def test_a_file_that_is_no_lora(project: Path, mame):
    path = mame.path / "unet" / "diffusion_pytorch_model.safetensors"
    with pytest.raises(UserError, match="no LoRA"):
        plan(project, f"start.base_weights=['{path.as_posix()}']")
