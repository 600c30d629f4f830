"""[adapter.targets]: which layers are changed."""

from __future__ import annotations

from typing import Literal

from renma.config._base import Section, opt

Preset = Literal[
    "transformer", "attention", "attn-mlp", "conv", "full", "full-lin", "unet-only",
    "unet-transformer-only", "unet-convblock-only", "ia3", "blora",
]  # fmt: skip


class TargetConfig(Section):
    """Which layers are changed."""

    preset: Preset = "transformer"
    """The set to start from. transformer (kohya's LierLa, LyCORIS' attn-mlp): linear and 1x1 layers
    of the transformer blocks and the text encoder. attention: only query, key, value, output.
    conv (LoCon, C3Lier): transformer and the ResNet blocks. full: conv and both ends. ia3: keys,
    values and feed-forward outputs. blora: SDXL's two blocks of content and style. The others are
    LyCORIS' own."""
    only: tuple[str, ...] = ()
    """Keep only layers whose path or file name fits one of these; `*` stands for any letters."""
    skip: tuple[str, ...] = ()
    """Leave out layers whose path or file name fits one of these."""
    norms: bool = opt(False, "advanced", kohya="train_norm")
    """Train weights and biases of the norm layers inside the chosen blocks too."""
    on_input: tuple[str, ...] = opt(("*.ff.net.2", "*.mlp.fc2"), "expert")
    """(IA)3: layers whose inputs are scaled instead of their outputs."""
    preset_file: str = opt("", "advanced", kohya="preset")
    """A LyCORIS preset (TOML) that chooses layers, and options of some of them, instead."""
