"""Networks of several algorithms that do something, their files, and what the model computes."""

from __future__ import annotations

from pathlib import Path

import torch

from renma.config.adapter import DyLora, LoHa, LoKr, Lora, LoraFA
from renma.config.targets import TargetConfig
from renma.engine.network import Network
from renma.formats import safetensors

PARTS = ("unet", "text_encoder")


def moved(family, config, seed: int = 3, parts=PARTS) -> Network:
    """A network whose adapters do something."""
    network = Network.fresh(family, config, seed, parts)
    generator = torch.Generator().manual_seed(seed)
    for member in network.members.values():
        for parameter in member.adapter.parameters():
            parameter.data += torch.randn(parameter.shape, generator=generator) * 0.05
    return network


def save(network: Network, path: Path, change=None) -> Path:
    tensors = {name: tensor.clone() for name, tensor in network.tensors().items()}
    safetensors.save(path, change(tensors) if change else tensors, {})
    return path


@torch.no_grad()
def output(family, *networks: Network) -> torch.Tensor:
    """What the whole model computes from words and noise, networks acting beside one another."""
    for network in networks:
        network.attach()
    try:
        states = family.encode_text(["aa12, smile", ""]).states
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(2, 4, 8, 8, generator=generator).to(states.dtype)
        return family.unet(x, torch.tensor([700, 30]), states).sample
    finally:
        for network in networks:
            network.detach()


CONFIGS = {
    "lora": Lora(rank=4, alpha=3),
    "rs": Lora(rank=4, alpha=3, rank_stabilized=True),
    "conv": Lora(rank=4, alpha=3, conv_rank=2, conv_alpha=1, targets=TargetConfig(preset="conv")),
    "tucker": Lora(rank=2, tucker=True, targets=TargetConfig(preset="conv", norms=True)),
    "dora": Lora(rank=4, alpha=3, dora="output"),
    "lora_fa": LoraFA(rank=4, alpha=3),
    "dylora": DyLora(rank=4, alpha=3, unit=2),
    "loha": LoHa(rank=2, alpha=1),
    "lokr": LoKr(rank=2, alpha=1, factor=4),
}
