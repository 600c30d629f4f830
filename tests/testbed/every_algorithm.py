"""Every algorithm on mame: its network, its file, and what it does there."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from renma import adapters
from renma.cli.app import main
from renma.config.adapter import (
    IA3,
    AdapterSection,
    DyLora,
    Full,
    GLora,
    LoHa,
    LoKr,
    Lora,
    LoraFA,
    Mora,
    Oft,
)
from renma.config.targets import TargetConfig
from renma.engine.network import Network
from renma.formats import lora_file

# every kind of layer once: attention of text and picture, resnets with and without a shortcut,
# both changes of size; "lora" has all layers, and so every name
SOME = (
    "*layers.0*", "*down_blocks.0.attentions*", "*down_blocks.0.downsamplers*",
    "*mid_block.resnets.0*", "*up_blocks.2.resnets.0*", "*up_blocks.2.upsamplers*",
)  # fmt: skip
ATTENTION = TargetConfig(only=SOME)
CONV = TargetConfig(preset="conv", only=SOME)
NORMS = TargetConfig(preset="conv", only=SOME, norms=True)
CONFIGS: dict[str, AdapterSection] = {
    "lora": Lora(rank=4, alpha=2, targets=TargetConfig(preset="full")),
    "rslora": Lora(rank=5, alpha=2, rank_stabilized=True, targets=ATTENTION),
    "locon": Lora(rank=4, alpha=3, conv_rank=2, conv_alpha=1, targets=CONV),
    "tucker": Lora(rank=4, alpha=2, tucker=True, targets=CONV),
    "dora": Lora(rank=4, alpha=2, dora="output", targets=CONV),
    "dora on inputs": Lora(rank=4, alpha=2, dora="input", targets=CONV),
    "pissa": Lora(rank=2, alpha=2, start="pissa", targets=CONV),
    "lora_fa": LoraFA(rank=4, alpha=2, targets=CONV),
    "dylora": DyLora(rank=4, alpha=2, unit=2, targets=CONV),
    "loha": LoHa(rank=3, alpha=2, targets=CONV),
    "loha tucker": LoHa(rank=3, alpha=2, tucker=True, targets=CONV),
    "loha dora": LoHa(rank=3, alpha=2, dora="output", targets=CONV),
    "lokr": LoKr(rank=2, alpha=1, factor=4, targets=CONV),
    "lokr both": LoKr(rank=2, alpha=1, decompose_both=True, targets=CONV),
    "lokr whole": LoKr(full_matrix=True, targets=CONV),
    "lokr dora": LoKr(rank=2, alpha=1, dora="output", targets=CONV),
    "ia3": IA3(targets=TargetConfig(preset="ia3")),
    "ia3 conv": IA3(targets=CONV),
    "mora": Mora(rank=4, targets=CONV),
    "mora sharing": Mora(rank=4, kind="sharing", targets=CONV),
    "mora dora": Mora(rank=4, dora="output", targets=CONV),
    "full": Full(targets=NORMS),
    "full without bias": Full(bias=False, targets=CONV),
    "full dora": Full(dora="output", targets=CONV),
    "glora": GLora(rank=3, alpha=2, targets=CONV),
    "oft": Oft(rank=4, targets=CONV),
    "oft with constraint": Oft(rank=4, constraint=0.001, targets=CONV),
}
ALL = pytest.mark.parametrize("name", CONFIGS)
Seen = tuple[Tensor, Tensor]


@dataclass
class Case:
    """A network, its file, and what it does at a strength."""

    network: Network
    path: Path
    seen: dict[float, Seen] = field(default_factory=dict)

    @property
    def kinds(self) -> list[str]:
        layers = lora_file.read(self.path).layers
        return [kind for layer in layers.values() for kind in adapters.kinds(layer)]


@torch.no_grad()
def look(mame, unet: Any = None, text_encoder: Any = None) -> Seen:
    """Text states and predicted noise of mame, or of the same with other modules."""
    words = mame.tokens[0]
    prompts = ("smile", "person, pink hair")
    tokens = torch.tensor([words.rows(words.numbers(prompt), 1)[0] for prompt in prompts])
    states = (text_encoder or mame.text_encoder)(tokens).last_hidden_state
    generator = torch.Generator().manual_seed(0)
    x, times = torch.randn(2, 4, 8, 8, generator=generator), torch.tensor([500, 20])
    return states, (unet or mame.unet)(x, times, states).sample


def far(seen: Seen, ours: Seen, base: Seen) -> float:
    """The largest difference, as a share of what the adapter changes."""
    changed = [(a - b).norm() for a, b in zip(ours, base, strict=True)]
    assert min(changed) > 1e-3 * base[0].norm()
    missed = [(a - b).norm() for a, b in zip(seen, ours, strict=True)]
    return max(float(m / c) for m, c in zip(missed, changed, strict=True))


SAME = 2e-4


@contextmanager
def quiet() -> Iterator[None]:
    """Other libraries' warnings are not ours to mend."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def convert(case: Case, out: Path, *options: str) -> Path:
    assert main(["file", "convert", str(case.path), str(out), *options]) == 0
    return out
