"""`renma plan layers`: blocks, layers and what is trained of them."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from renma.cli.app import main
from renma.config.adapter import Lora
from renma.engine.network import Network


def rows(capsys, *words: str) -> list[dict]:
    assert main(["plan", "layers", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_blocks_add_up_to_the_network(project: Path, mame, capsys):
    run = str(project / "run.toml")
    found = rows(capsys, run, "--set", "adapter={rank=3}", "--set", "train.text_encoder=false")
    network = Network.fresh(mame, Lora(rank=3), 0, ("unet",))
    assert sum(row["trained"] for row in found) == sum(
        p.numel() for p in network.parameters("unet")
    )
    assert sum(row["trained_layers"] for row in found) == len(network.members)
    blocks = {row["block"] for row in found if row["trained"]}
    assert blocks == {member.target.block for member in network.members.values()}
    weights = sum(p.numel() for p in mame.unet.parameters() if p.dim() > 1)
    norms = (torch.nn.GroupNorm, torch.nn.LayerNorm)
    weights += sum(m.weight.numel() for m in mame.unet.modules() if isinstance(m, norms))
    assert sum(row["weights"] for row in found if row["part"] == "unet") == weights


def test_ranks_and_rates_of_blocks_are_shown(project: Path, capsys):
    run = str(project / "run.toml")
    values = ["--set", "adapter.blocks.mid_rates=0.5", "--set", "adapter.blocks.down_rates=zeros"]
    found = {row["block"]: row for row in rows(capsys, run, *values) if row["part"] == "unet"}
    assert found["M00"]["rate"] == 0.5
    assert all(row["trained"] == 0 for block, row in found.items() if block.startswith("IN"))
    assert main(["plan", "layers", run, *values]) == 0
    text = capsys.readouterr().out
    assert "M00" in text
    assert "0.5" in text


def test_each_layer_has_name_and_shape(project: Path, mame, capsys):
    found = rows(capsys, str(project / "run.toml"), "--each")
    shapes = {t.slot.path: list(t.slot.shape) for t in mame.targets().values()}
    assert {row["name"]: row["shape"] for row in found} == shapes
    assert main(["plan", "layers", str(project / "run.toml"), "--each"]) == 0
    assert "mid_block.attentions.0.proj_in" in capsys.readouterr().out
