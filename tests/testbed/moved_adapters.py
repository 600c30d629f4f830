"""Adapters that do something: on one layer, or on mame's."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from renma import adapters
from renma.adapters._base import LayerSpec
from renma.config.adapter import AdapterSection
from renma.config.targets import TargetConfig
from renma.engine.network import Network

PARTS = ("unet", "text_encoder")
FEW = TargetConfig(preset="attention", only=("*mid_block*", "*layers.0.self_attn.q_proj"))


def moved(adapter: Any, seed: int = 0) -> Any:
    generator = torch.Generator().manual_seed(seed)
    for parameter in adapter.parameters():
        parameter.data += torch.randn(parameter.shape, generator=generator) * 0.3
    return adapter


def on_layer(config: AdapterSection, layer: Any) -> Any:
    adapter = adapters.build(LayerSpec.of(layer), config, torch.Generator().manual_seed(5))
    adapter.start(layer.weight)
    return moved(adapter)


def linear(inputs: int = 6, outputs: int = 4) -> Any:
    torch.manual_seed(1)
    return nn.Linear(inputs, outputs).requires_grad_(False)


def convolution() -> Any:
    torch.manual_seed(1)
    return nn.Conv2d(4, 6, 3, padding=1).requires_grad_(False)


def network_of(mame, config: AdapterSection) -> Network:
    network = Network.fresh(mame, config, 0, PARTS)
    for number, member in enumerate(network.members.values()):
        moved(member.adapter, number)
    return network


RANKED: dict[str, Any] = {"rank": 3, "alpha": 2.0}


def forward(mame, x, times):
    return mame.unet(x, times, mame.encode_text(["smile, aa12", "frown"]).states).sample


def sample():
    generator = torch.Generator().manual_seed(2)
    return torch.randn(2, 4, 8, 8, generator=generator), torch.tensor([900, 40])
