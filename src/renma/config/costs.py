"""What training costs before it starts: memory and operations (no torch).

Weights, gradients and optimizer state are counted; activations and the runtime are estimates from
figures measured on Stable Diffusion 1.5, stated below. Other models are scaled by the size of their
layers' outputs: a guess, and for SDXL an untested one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

from renma.config.adapter import IA3, Full, GLora, LoHa, LoKr, Lora, LoraFA, Mora, Oft
from renma.config.estimate import Shape, Shapes, tensors, trained
from renma.config.layer_table import Choice, Slot, choose
from renma.config.optimizer import Custom, OptimizerConfig, Rates, sections

_KEPT_OUTPUTS = 2.9
"""Bytes kept for backward in fp32, over those of all layers' outputs: 10,500 bytes a pixel were
measured on SD 1.5 with LoRA on its transformer blocks."""
_CHECKPOINTED, _CHECKPOINTED_ON_GPU = 0.55, 0.3
"""What is left of it with gradient checkpointing: measured on a CPU, where scratch memory of
convolutions stays; a guess for GPUs."""
_VAE_TENSORS = 5
"""First-level feature maps that encoding a picture holds at a time (a guess); the VAE computes in
fp32 always."""
_RUNTIME_MIB = 520
"""torch, diffusers and transformers themselves."""
OPTIMIZERS: dict[str, type[Rates]] = {
    section.model_fields["name"].default: section for section in sections() if section is not Custom
}
"""Name of an optimizer to its options."""
_ZERO = {"up", "up_2", "w2", "w2_b", "weight", "diff", "diff_b", "a2", "b2", "blocks", "matrix"}
"""Trained tensors that start at zero."""
_OWN_INPUT = (
    ".to_q", ".ff.net.0.proj", ".ff.net.2", ".proj_in", ".proj_out", ".conv1", ".conv2",
)  # fmt: skip
"""Layers whose input nothing but their own adapter keeps; key and value share the query's."""


@dataclass(frozen=True)
class Memory:
    """Estimated peak memory of training in MiB, by what needs it."""

    runtime: float
    """Programs and libraries."""
    weights: float
    """The frozen model."""
    adapter: float
    """Numbers of the adapters, trained and frozen."""
    gradients: float
    """One fp32 number for each trained one."""
    state: float
    """The optimizer's."""
    activations: float
    """What the backward pass needs of the forward pass."""

    @property
    def total(self) -> float:
        """The sum."""
        return sum(vars(self).values())


@dataclass(frozen=True)
class Footing:
    """What memory depends on besides the adapter.

    Attributes:
        table: every layer of the model.
        frozen_numbers: parameters of the parts that stay loaded.
        frozen_bytes: bytes of one of them: 4 for fp32, 2 for bf16.
        optimizer: its section.
        pixels: of the largest batch, all its pictures together.
        outputs: numbers that the U-Net's layers put out per pixel of a latent.
        levels: of the U-Net.
        factor: pixels along one side of a latent.
        checkpointing: whether activations are computed twice.
    """

    table: tuple[Slot, ...]
    frozen_numbers: int
    frozen_bytes: int
    optimizer: OptimizerConfig
    pixels: int
    outputs: float
    levels: int
    factor: int
    checkpointing: bool
    gpu: bool = False
    """Whether it computes on one."""
    quantised_numbers: int = 0
    """How many of the frozen parameters are kept in few bits (model.quantize)."""
    quantised_bytes: float = 0.0
    """Bytes of all those."""

    @property
    def weight_bytes(self) -> float:
        """Bytes of all frozen parameters."""
        whole = self.frozen_numbers - self.quantised_numbers
        return whole * self.frozen_bytes + self.quantised_bytes


_FEW_BITS = {"int8": 1 + 4 / 256, "nf4": 0.5 + 1 / 64 + 4 / 2**14, "fp4": 0.5 + 1 / 64}
"""Bytes of a number in few bits: its code, and its share of the block's scale."""
_IN_BLOCKS = ".transformer_blocks."
_NOT_IN_FEW = ("conv_in.", "conv_out.", "time_embedding.", "add_embedding.")


def few_bits(name: str, shape: Shape, quantize: str) -> float:
    """Returns the bytes of a U-Net weight under `model.quantize`; 0 where it stays as it is."""
    matrix = len(shape) == 2 and _IN_BLOCKS in name
    if quantize == "fp8" and len(shape) > 1 and not name.startswith(_NOT_IN_FEW):
        return math.prod(shape) + 4 * shape[0]  # a byte each, and a scale for each output
    return math.prod(shape) * _FEW_BITS.get(quantize, 0.0) if matrix else 0.0


def caching_bytes(vae: Shapes, pixels: int) -> float:
    """Returns the memory of encoding pictures before the first step, without the program's own.

    Args:
        vae: its weights.
        pixels: of the pictures that are encoded at once.
    """
    channels = vae.get("encoder.conv_in.weight", (128,))[0]
    weights = 4 * sum(map(math.prod, vae.values()))
    return weights + 4 * _VAE_TENSORS * channels * pixels


def memory(chosen: Iterable[Choice], footing: Footing) -> Memory:
    """Returns the memory that training ``chosen`` needs at most."""
    chosen, mib = list(chosen), 2**20
    rows = [row for slot, own, _ in chosen for row in trained(slot, own).items()]
    kept = sum(math.prod(s) for slot, own, _ in chosen for s in tensors(slot, own).values())
    return Memory(
        runtime=_RUNTIME_MIB,
        weights=footing.weight_bytes / mib,
        adapter=4 * kept / mib,
        gradients=4 * sum(math.prod(shape) for _, shape in rows) / mib,
        state=state_bytes(footing.optimizer, rows) / mib,
        activations=_activations(chosen, footing) / mib,
    )


def state_bytes(optimizer: str | Rates, rows: Iterable[tuple[str, Shape]]) -> int:
    """Returns the bytes of an optimizer's state for trained tensors in fp32.

    Args:
        optimizer: its options, or its name in :data:`OPTIMIZERS`; of a class of the user's own
            nothing is known, and two numbers for each trained one are assumed.
        rows: name (as :func:`renma.config.estimate.trained` gives it) and shape of each tensor.
    """
    section = OPTIMIZERS[optimizer]() if isinstance(optimizer, str) else optimizer
    return sum(section.state_bytes(shape, name.rpartition(".")[2] in _ZERO) for name, shape in rows)


def _activations(chosen: list[Choice], footing: Footing) -> float:
    """Returns the usual figure, less the inputs kept when it was measured, plus these here."""
    usual = sum(_input_bytes(slot, footing) for slot, _, _ in choose(Lora(), footing.table))
    base = footing.pixels / footing.factor**2 * footing.outputs * 4 * _KEPT_OUTPUTS
    total = max(base - usual, base / 4) + sum(_kept(slot, own, footing) for slot, own, _ in chosen)
    left = _CHECKPOINTED_ON_GPU if footing.gpu else _CHECKPOINTED
    share = left if footing.checkpointing else 1
    return total * footing.frozen_bytes / 4 * share


def _input_bytes(slot: Slot, footing: Footing) -> float:
    if slot.part != "unet" or not slot.path.endswith(_OWN_INPUT):
        return 0
    return 4 * slot.inputs * _tokens(slot, footing)


def _kept(slot: Slot, config: object, footing: Footing) -> float:
    """Returns the bytes that an adapter of one layer keeps for its backward pass, in fp32."""
    if slot.part != "unet" or slot.is_norm:
        return 0
    own_input, tokens = _input_bytes(slot, footing), _tokens(slot, footing)
    output, weight = 4 * slot.outputs * tokens, 4 * math.prod(slot.shape)
    match config:
        case LoraFA():
            kept = 4 * config.rank * tokens
        case IA3():
            kept = own_input if config.on_input else output
        case LoHa() | Full() | GLora() | Oft():
            kept = own_input + weight  # the changed weight, or a product that it is made of
        case LoKr() | Mora():
            kept = own_input + output
        case _:
            kept = own_input
    return kept + (output if getattr(config, "dora", "off") != "off" else 0)


def _tokens(slot: Slot, footing: Footing) -> float:
    pixels = footing.pixels / footing.factor**2
    return _positions(slot.path, footing.levels, pixels, tokens=77)


def levels_of(unet: Shapes) -> int:
    """Returns the resolutions of a U-Net: each down block but the last halves it."""
    blocks = (int(m[1]) for n in unet if (m := re.match(r"down_blocks\.(\d+)\.", n)))
    return 1 + max(blocks, default=0)


def outputs_per_pixel(unet: Shapes) -> float:
    """Returns the numbers that the layers put out, per pixel of a latent of 64 x 64."""
    levels, pixels = levels_of(unet), 64 * 64
    rows = ((n, s) for n, s in unet.items() if len(s) > 1)
    return sum(s[0] * _positions(n, levels, pixels, 77) for n, s in rows) / pixels


def forward_flops(unet: Shapes, latent_pixels: int, tokens: int = 77) -> float:
    """Returns the floating-point operations of one U-Net forward pass of one picture.

    Counts two per weight and position; attention between positions is left out (a few percent).
    """
    levels = levels_of(unet)
    return sum(
        2.0 * math.prod(s) * _positions(n, levels, latent_pixels, tokens)
        for n, s in unet.items()
        if len(s) > 1
    )


def _positions(name: str, levels: int, latent_pixels: float, tokens: int) -> float:
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
