"""Updates held to a length, and learning rates by block and by factor."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from renma.config.adapter import Lora
from renma.config.blocks import BlockConfig
from renma.config.targets import TargetConfig
from renma.engine.network import Network
from testbed.moved_adapters import PARTS, network_of


def kohya_max_norm(down: torch.Tensor, up: torch.Tensor, scale: float, limit: float):
    """networks.lora: both factors times sqrt of the ratio, nothing is made longer."""
    product = up.flatten(1) @ down.flatten(1) * scale
    norm = product.norm().clamp(min=limit / 2)
    wanted = norm.clamp(max=limit)
    ratio = (wanted / norm).item() ** 0.5
    return down * ratio, up * ratio, product.norm().item()


@pytest.mark.parametrize("limit", [0.5, 2.0])
def test_max_norm_is_kohyas(mame, limit):
    targets = TargetConfig(preset="conv", only=("*mid_block*",))
    network = network_of(mame, Lora(rank=3, alpha=2, targets=targets))
    for number, member in enumerate(network.members.values()):
        member.adapter.up.data *= 0.02 * (1 + number % 9)  # pyright: ignore
    expected, norms = {}, []
    for name, member in network.members.items():
        t = member.adapter.tensors()
        down, up, norm = kohya_max_norm(t["lora_down.weight"], t["lora_up.weight"], 2 / 3, limit)
        expected[name] = (down.clone(), up.clone())
        norms.append(norm)
    told = network.clamp_norms(limit)
    assert 0 < told.shortened == sum(norm > limit for norm in norms) < len(norms)
    assert told.mean == pytest.approx(sum(norms) / len(norms), rel=1e-4)
    assert told.largest == pytest.approx(max(norms), rel=1e-4)
    for name, member in network.members.items():
        t = member.adapter.tensors()
        torch.testing.assert_close(t["lora_down.weight"], expected[name][0], rtol=1e-4, atol=1e-7)
        torch.testing.assert_close(t["lora_up.weight"], expected[name][1], rtol=1e-4, atol=1e-7)


def kohya_index(path: str) -> int:
    """kohya's table for Stable Diffusion 1: down 0 to 11, mid 12, up 13 to 24 (4 blocks of 3)."""
    words = path.split(".")
    if words[0] == "mid_block":
        return 12
    block, kind, layer = int(words[1]), words[2], int(words[3])
    if words[0] == "down_blocks":
        return 3 * block + (3 if kind == "downsamplers" else 1 + layer)
    return 13 + 3 * block + (2 if kind == "upsamplers" else layer)


def test_block_rates_and_lora_plus_make_groups(mame):
    """Rates of a block times LoRA+'s ratio for B; a rate of 0 leaves the block out."""
    down = tuple(0.1 * n for n in range(12))
    up = tuple(0.0 if n == 5 else 2.0 - 0.05 * n for n in range(12))
    blocks = BlockConfig(down_rates=down, mid_rates=0.25, up_rates=up)
    config = Lora(
        rank=2, blocks=blocks, lr_ratio=4, unet_lr_ratio=16, targets=TargetConfig(preset="conv")
    )
    network = Network.fresh(mame, config, 0, PARTS)
    by_index = [*down, 0.25, *up]
    expected: dict[float, int] = {}
    for name, target in mame.targets().items():
        slot = target.slot
        if slot.part != "unet" or slot.group not in {
            "attention", "feed_forward", "projection", "resnet", "sampler"
        }:  # fmt: skip
            continue
        rate = by_index[kohya_index(slot.path)]
        assert (name in network.members) == (rate > 0), slot.path
        if rate:
            member = network.members[name]
            assert member.rate == pytest.approx(rate)
            adapter: Any = member.adapter
            for factor, parameter in ((rate, adapter.down), (rate * 16, adapter.up)):
                key = round(factor, 9)
                expected[key] = expected.get(key, 0) + parameter.numel()
    groups = network.groups(config, "unet")
    got = {round(g.factor, 9): sum(p.numel() for p in g.parameters) for g in groups}
    assert got == expected
    held = [id(p) for g in groups for p in g.parameters]
    assert len(held) == len(set(held)) == len(network.parameters("unet"))
    layers = sum(m.part == "text_encoder" for m in network.members.values())
    text = {g.factor: len(g.parameters) for g in network.groups(config, "text_encoder")}
    assert text == {4.0: layers, 1.0: layers}
