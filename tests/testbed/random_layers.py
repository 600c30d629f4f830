"""Every algorithm in its variants, and random layers to put it on."""

from __future__ import annotations

import pytest
import torch
from hypothesis import strategies as st
from torch import nn

from renma import adapters
from renma.adapters._base import LayerSpec
from renma.config.adapter import IA3, DyLora, Full, GLora, LoHa, LoKr, Lora, LoraFA, Mora, Oft

DORAS = ("output", "input")
RANKED = {"rank": 3, "alpha": 2.0}
VARIANTS = {
    "lora": Lora(**RANKED),
    "lora-rs": Lora(**RANKED, rank_stabilized=True),
    "lora-tucker": Lora(**RANKED, tucker=True),
    "lora-pissa": Lora(**RANKED, start="pissa"),
    "lora-olora": Lora(**RANKED, start="olora"),
    "lora_fa": LoraFA(**RANKED),
    "dylora": DyLora(**RANKED),
    "loha": LoHa(**RANKED),
    "loha-tucker": LoHa(**RANKED, tucker=True),
    "lokr": LoKr(rank=1, alpha=0.5, factor=2),
    "lokr-both": LoKr(rank=1, alpha=0.5, decompose_both=True),
    "lokr-full": LoKr(rank=1, full_matrix=True, factor=4),
    "ia3": IA3(),
    "ia3-input": IA3(on_input=True),
    "mora-sharing": Mora(rank=1, kind="sharing"),
    "mora-rotation": Mora(rank=1, kind="rotation"),
    "full": Full(bias=False),
    "full-bias": Full(),
    "glora": GLora(**RANKED),
    "oft": Oft(rank=2),
    "oft-constraint": Oft(rank=2, constraint=0.05),
} | {
    f"{name}-dora-{side}": make(dora=side, dora_norm_gradient=True)
    for side in DORAS
    for name, make in {
        "lora": lambda **given: Lora(**RANKED, **given),
        "lora_fa": lambda **given: LoraFA(**RANKED, **given),
        "dylora": lambda **given: DyLora(**RANKED, **given),
        "loha": lambda **given: LoHa(**RANKED, **given),
        "lokr": lambda **given: LoKr(rank=1, alpha=0.5, factor=2, **given),
        "mora": lambda **given: Mora(rank=1, **given),
        "full": lambda **given: Full(bias=False, **given),
    }.items()
}
every = pytest.mark.parametrize("variant", VARIANTS)


@st.composite
def layers(draw, *, norms: bool = False):
    """A random frozen layer with an input for it."""
    seed = draw(st.integers(0, 10_000))
    torch.manual_seed(seed)
    bias = draw(st.booleans())
    if norms and draw(st.booleans()):
        width = draw(st.sampled_from([4, 6]))
        if draw(st.booleans()):
            layer: nn.Module = nn.LayerNorm(width)
            x = torch.randn(2, 3, width)
        else:
            layer, x = nn.GroupNorm(2, width), torch.randn(2, width, 3, 4)
        layer.weight.data.normal_()
        return layer.requires_grad_(False), x, seed
    if draw(st.booleans()):
        layer = nn.Linear(draw(st.integers(1, 9)), draw(st.integers(1, 9)), bias=bias)
        x = torch.randn(2, draw(st.sampled_from([1, 3, 30])), layer.in_features)
    else:
        groups = draw(st.sampled_from([1, 1, 2]))
        layer = nn.Conv2d(
            groups * draw(st.integers(1, 4)),
            groups * draw(st.integers(1, 4)),
            draw(st.sampled_from([(1, 1), (3, 3), (3, 1)])),
            stride=draw(st.sampled_from([1, 2])),
            padding=draw(st.sampled_from([0, 1])),
            dilation=draw(st.sampled_from([1, 2])),
            groups=groups,
            bias=bias,
        )
        x = torch.randn(2, layer.in_channels, 7, 8)
    return layer.requires_grad_(False), x, seed


def fresh(variant: str, layer: nn.Module, seed: int):
    config = VARIANTS[variant]
    generator = torch.Generator().manual_seed(seed)
    adapter = adapters.build(LayerSpec.of(layer), config, generator)
    adapter.start(layer.weight)
    return adapter


def trained(variant: str, layer: nn.Module, seed: int, dtype: torch.dtype):
    adapter = fresh(variant, layer, seed).to(dtype)
    generator = torch.Generator().manual_seed(seed + 1)
    for name, parameter in adapter.named_parameters():
        moved = torch.randn(parameter.shape, generator=generator) * 0.5
        # a magnitude is a length: near where it started, and never zero
        parameter.data.copy_(moved.abs() + 0.2 if name == "magnitude" else moved)
    return adapter
