"""Arithmetic before the start: steps, parameters, file size, memory, time (no torch).

Layer shapes come from the headers of the model's weight files, so nothing is loaded.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

from renma.config.adapter import Lora

Shapes = dict[str, tuple[int, ...]]

_UNET = re.compile(r"\.attentions\.\d+\.")
_TEXT = re.compile(r"layers\.\d+\.(self_attn|mlp)\.")
_ACTIVATION_BYTES = 10_500 / 320
"""Bytes kept for backward per pixel and first-level channel in fp32; measured on SD 1.5."""
_CHECKPOINTED = 0.55
_RUNTIME_MIB = 520
"""torch, diffusers and transformers themselves."""
STATE_BYTES = {"adamw": 8.0, "adamw8bit": 2.1, "prodigy": 13.8}
"""Optimizer state per trained number; small tensors of adamw8bit keep 8 bytes."""


@dataclass(frozen=True)
class Layer:
    """One adaptable layer: outputs x columns."""

    part: str
    outputs: int
    columns: int


def adaptable(unet: Shapes, text_encoder: Shapes) -> list[Layer]:
    """Returns the layers that plain LoRA changes: transformer blocks and CLIP linears."""
    found = [Layer("unet", *_matrix(s)) for n, s in unet.items() if _UNET.search(n) and _flat(s)]
    text = [s for n, s in text_encoder.items() if _TEXT.search(n) and len(s) == 2]
    return found + [Layer("text_encoder", *shape) for shape in text]


def parameters(layers: Iterable[Layer], adapter: Lora) -> int:
    """Returns how many numbers the adapter trains."""
    return sum(adapter.rank * (layer.outputs + layer.columns) for layer in layers)


def steps_of(batches: int, accumulation: int) -> int:
    """Returns the optimizer steps that show so many batches; the last may reach beyond them."""
    return math.ceil(batches / accumulation)


@dataclass(frozen=True)
class Memory:
    """Estimated peak memory of training in MiB, by what needs it."""

    runtime: float
    weights: float
    trained: float
    activations: float

    @property
    def total(self) -> float:
        """The sum."""
        return self.runtime + self.weights + self.trained + self.activations


def memory(
    *,
    frozen_numbers: int,
    frozen_bytes: int,
    trained_numbers: int,
    optimizer: str,
    pixels: int,
    channels: int,
    checkpointing: bool,
) -> Memory:
    """Returns the estimate.

    Args:
        frozen_numbers: parameters of the parts that stay loaded.
        frozen_bytes: bytes of one of them: 4 for fp32, 2 for bf16.
        trained_numbers: adapter parameters; each has weight and gradient in fp32 and a state.
        optimizer: name, for the size of its state.
        pixels: of the largest batch, all its pictures together.
        channels: of the U-Net's first level.
        checkpointing: whether activations are computed twice.
    """
    activations = pixels * channels * _ACTIVATION_BYTES * frozen_bytes / 4
    mib = 2**20
    return Memory(
        _RUNTIME_MIB,
        frozen_numbers * frozen_bytes / mib,
        trained_numbers * (8 + STATE_BYTES[optimizer]) / mib,
        activations * (_CHECKPOINTED if checkpointing else 1) / mib,
    )


def forward_flops(unet: Shapes, latent_pixels: int, tokens: int = 77) -> float:
    """Returns the floating-point operations of one U-Net forward pass of one picture.

    Counts two per weight and position; attention between positions is left out (a few percent).
    """
    levels = 1 + max(
        (int(m[1]) for n in unet if (m := re.match(r"down_blocks\.(\d+)\.", n))), default=0
    )
    return sum(
        2.0 * math.prod(s) * _positions(n, levels, latent_pixels, tokens)
        for n, s in unet.items()
        if len(s) > 1
    )


def _positions(name: str, levels: int, latent_pixels: int, tokens: int) -> float:
    if "time_emb" in name:
        return 1
    if "attn2.to_k" in name or "attn2.to_v" in name:
        return tokens
    if match := re.match(r"down_blocks\.(\d+)\.", name):
        level = int(match[1]) + ("downsamplers" in name)
    elif match := re.match(r"up_blocks\.(\d+)\.", name):
        level = levels - 1 - int(match[1]) - ("upsamplers" in name)
    else:
        level = levels - 1 if name.startswith("mid_block") else 0
    return latent_pixels / 4**level


def _flat(shape: tuple[int, ...]) -> bool:
    return len(shape) == 2 or (len(shape) == 4 and shape[2:] == (1, 1))


def _matrix(shape: tuple[int, ...]) -> tuple[int, int]:
    return shape[0], math.prod(shape[1:])
