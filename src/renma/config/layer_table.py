"""The layers of a model by the names and shapes of its weights, and which of them are trained.

One definition for files, estimates and loaded models: a weight file's header and the modules of a
loaded model give the same table. Paths are those of diffusers and transformers; names are those of
kohya-ss/sd-scripts, which counts SDXL's U-Net as Stability's own code does (``input_blocks_4_1``).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

from renma.config import block_names
from renma.config.adapter import IA3, AdapterSection, DyLora, Full, Mora, Oft, _Ranked
from renma.config.blocks import check_counts, factors
from renma.config.targets import TargetConfig
from renma.core.errors import UserError

Shapes = Mapping[str, tuple[int, ...]]
"""Weight name (with ``.weight`` or ``.bias``) to shape."""

Part = Literal["unet", "text_encoder", "text_encoder_2"]
Group = Literal[
    "attention", "feed_forward", "projection", "resnet", "sampler", "ends", "norm", "other"
]

_TEXT_LAYER = re.compile(r"encoder\.layers\.\d+\.")


@dataclass(frozen=True, slots=True)
class Slot:
    """One layer that an adapter may change.

    Attributes:
        part: the model's part.
        path: module path inside the part; text encoders always with ``text_model.``.
        shape: of the weight: (outputs, inputs[, height, width]), or (channels,) of a norm.
        name: the layer's key in LoRA files, without a suffix.
        block: label as block-weight tools count: BASE, IN01, M00, OUT03 ...
        index: kohya's block index, 0 .. 24 (SDXL 0 .. 22); None outside the U-Net.
        group: what the layer does.
        bias: whether it has one.
    """

    part: Part
    path: str
    shape: tuple[int, ...]
    name: str
    block: str
    index: int | None
    group: Group
    bias: bool

    @property
    def is_norm(self) -> bool:
        """Whether it is a norm layer, with one number for each channel."""
        return len(self.shape) == 1

    @property
    def conv3x3(self) -> bool:
        """Whether it is a convolution that looks beyond one pixel."""
        return len(self.shape) == 4 and self.shape[2:] != (1, 1)

    @property
    def outputs(self) -> int:
        """Rows of the weight."""
        return self.shape[0]

    @property
    def inputs(self) -> int:
        """Input channels."""
        return self.shape[0] if self.is_norm else self.shape[1]

    @property
    def columns(self) -> int:
        """Width of the weight seen as a matrix with ``outputs`` rows."""
        return math.prod(self.shape[1:])


def slots(
    unet: Shapes, text_encoder: Shapes | None = None, text_encoder_2: Shapes | None = None
) -> list[Slot]:
    """Returns every adaptable layer, text encoders first, in the order of the weights.

    Args:
        unet: weights of the U-Net in diffusers' naming.
        text_encoder: weights of the (first) CLIP text encoder, with or without ``text_model.``.
        text_encoder_2: weights of SDXL's second one.
    """
    sdxl = text_encoder_2 is not None or any(name.startswith("add_embedding.") for name in unet)
    found = _text_slots(text_encoder or {}, "text_encoder", "lora_te1" if sdxl else "lora_te")
    found += _text_slots(text_encoder_2 or {}, "text_encoder_2", "lora_te2")
    per_block = 1 + max(
        (int(m[1]) for name in unet if (m := re.match(r"down_blocks\.0\.resnets\.(\d+)\.", name))),
        default=0,
    )
    attentive = {name.split(".attentions.")[0] for name in unet if ".attentions." in name}
    for path, shape, bias in _layers(unet):
        # an upsampler stands behind the layers of its output block: ResNet, or also transformer
        place = 2 if path.split(".upsamplers.")[0] in attentive else 1
        key = block_names.sai_name(path, per_block, place) if sdxl else path.replace(".", "_")
        found.append(
            Slot(
                "unet",
                path,
                shape,
                f"lora_unet_{key}",
                block_names.label(path, per_block),
                block_names.index(path, sdxl),
                _unet_group(path, shape),
                bias,
            )
        )
    return found


def is_sdxl(table: list[Slot]) -> bool:
    """Says whether a table is one of SDXL, whose U-Net layers have Stability's names."""
    return any(
        slot.part == "text_encoder_2" or slot.name.startswith("lora_unet_input_blocks_")
        for slot in table
    )


def _layers(shapes: Shapes) -> list[tuple[str, tuple[int, ...], bool]]:
    """Lists path, weight shape and presence of a bias of linear, 2-D convolution, norm layers."""
    found = []
    for name, shape in shapes.items():
        path, dot, kind = name.rpartition(".")
        if dot and kind == "weight" and len(shape) in {1, 2, 4} and "embeddings" not in path:
            found.append((path, tuple(shape), f"{path}.bias" in shapes))
    return found


def _text_slots(shapes: Shapes, part: Part, prefix: str) -> list[Slot]:
    found = []
    for path, shape, bias in _layers(shapes):
        if not path.startswith(("text_model.", "text_projection")):
            path = f"text_model.{path}"  # transformers 5 writes no prefix, kohya's names have it
        name = f"{prefix}_{path.replace('.', '_')}"
        found.append(Slot(part, path, shape, name, "BASE", None, _text_group(path, shape), bias))
    return found


def _text_group(path: str, shape: tuple[int, ...]) -> Group:
    if len(shape) == 1:
        return "norm"
    if not _TEXT_LAYER.search(path):
        return "ends"
    return "attention" if ".self_attn." in path else "feed_forward"


def _unet_group(path: str, shape: tuple[int, ...]) -> Group:
    if len(shape) == 1:
        return "norm"
    if ".attentions." in path:
        if re.search(r"\.attn\d\.", path):
            return "attention"
        return "feed_forward" if ".ff." in path else "projection"
    if ".resnets." in path:
        return "resnet"
    if "samplers." in path:
        return "sampler"
    return "ends" if path in block_names.ENDS else "other"


_TRANSFORMER = frozenset({"attention", "feed_forward", "projection"})
_CONV = _TRANSFORMER | {"resnet", "sampler"}
_CLIP = frozenset({"attention", "feed_forward"})
_NONE: frozenset[str] = frozenset()
_TIME = ("time_embedding.linear_1", "time_embedding.linear_2")
_ENDS = ("conv_in", "conv_out", *_TIME)
_BLORA = ("up_blocks.0.attentions.0.", "up_blocks.0.attentions.1.")
_IA3 = (".to_k", ".to_v", ".ff.net.2", ".k_proj", ".v_proj", ".mlp.fc2")


@dataclass(frozen=True)
class _Set:
    """What a preset names: groups of the U-Net and of text encoders, and layers by path."""

    unet: frozenset[str]
    text: frozenset[str] = _NONE
    paths: tuple[str, ...] = ()
    convolutions: bool = True

    def holds(self, slot: Slot) -> bool:
        if slot.part != "unet":
            return slot.group in self.text
        if slot.is_norm:  # those inside blocks that are changed as a whole, as LyCORIS does
            whole = {"projection": ".attentions.", "resnet": ".resnets."}
            return any(g in self.unet and inside in slot.path for g, inside in whole.items())
        if slot.path in self.paths:
            return True
        return slot.group in self.unet and (self.convolutions or not slot.conv3x3)


_SETS = {
    "transformer": _Set(_TRANSFORMER, _CLIP),
    "attn-mlp": _Set(_TRANSFORMER, _CLIP),
    "attention": _Set(frozenset({"attention"}), frozenset({"attention"})),
    "conv": _Set(_CONV, _CLIP),
    "full": _Set(_CONV, _CLIP, _ENDS),
    "full-lin": _Set(_TRANSFORMER | {"resnet"}, _CLIP, _TIME, convolutions=False),
    "unet-only": _Set(_CONV, paths=_ENDS),
    "unet-transformer-only": _Set(_TRANSFORMER),
    "unet-convblock-only": _Set(frozenset({"resnet", "sampler"}), paths=("conv_in", "conv_out")),
}

Choice = tuple[Slot, AdapterSection, float]
"""A trained layer, its own options, and the factor on its learning rate."""


def choose(config: AdapterSection, table: Iterable[Slot], base: Path | None = None) -> list[Choice]:
    """Returns the layers that are trained, in the order of the table.

    Each comes with its own options: rank and alpha of its block and kind, (IA)3's side, ``Full``
    for norm layers, whatever a LyCORIS preset gives it; and with its learning-rate factor. Layers
    with rank 0 or factor 0 are left out.

    Args:
        config: the adapter's options.
        table: every layer of the model (of all parts: name patterns are checked against them).
        base: folder that a relative ``preset_file`` starts from.

    Raises:
        UserError: nothing is left, a pattern fits no layer, or a list has the wrong length.
    """
    table = list(table)
    _check_blocks(config)
    sdxl = is_sdxl(table)
    check_counts(config.blocks, sdxl)
    rates = factors(config.blocks, sdxl)
    chosen: list[Choice] = []
    for slot, own in _filtered(config.targets, _selected(config, table, base), table):
        fitted = _fitted(own, slot)
        rate = 1.0 if slot.index is None else rates[slot.index]
        if fitted is not None and rate > 0:
            chosen.append((slot, fitted, rate))
    if table and not chosen:
        raise UserError(
            "no layer of this model would be trained",
            where="adapter.targets",
            remedy="Look at targets.preset, only and skip, and at ranks and rates that are 0.",
        )
    if table and config.targets.norms and not any(slot.is_norm for slot, _, _ in chosen):
        raise UserError(
            "the chosen layers stand in no block whose norm layers could be trained too",
            where="adapter.targets.norms",
            remedy="Presets such as transformer, conv and full have such blocks.",
        )
    return chosen


def _selected(
    config: AdapterSection, table: list[Slot], base: Path | None
) -> list[tuple[Slot, AdapterSection]]:
    """Returns what the preset or its file names, norm layers as ``targets.norms`` wants."""
    targets = config.targets
    if targets.preset_file:
        from renma.config.lycoris_preset import read

        found = read((base or Path()) / targets.preset_file).choose(config, table)
    else:
        found = [(slot, config) for slot in table if _named(targets.preset, slot)]
    return [
        (slot, Full(module_dropout=own.module_dropout) if slot.is_norm else own)
        for slot, own in found
        if targets.norms or not slot.is_norm
    ]


def _named(preset: str, slot: Slot) -> bool:
    if preset == "ia3":
        return not slot.is_norm and f".{slot.path}".endswith(_IA3)
    if preset == "blora":
        return slot.group == "attention" and slot.path.startswith(_BLORA)
    return _SETS[preset].holds(slot)


def _filtered(
    targets: TargetConfig, found: list[tuple[Slot, AdapterSection]], table: list[Slot]
) -> list[tuple[Slot, AdapterSection]]:
    for option in ("only", "skip"):
        for pattern in getattr(targets, option):
            if table and not any(_fits(slot, (pattern,)) for slot in table):
                raise UserError(
                    f"'{pattern}' fits no layer of this model",
                    where=f"adapter.targets.{option}",
                    remedy=f"The whole path must fit, such as '*.attn2.to_k' or '*{pattern}*'.",
                )
    return [
        (slot, own)
        for slot, own in found
        if (not targets.only or _fits(slot, targets.only)) and not _fits(slot, targets.skip)
    ]


def _fits(slot: Slot, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(slot.path, p) or fnmatchcase(slot.name, p) for p in patterns)


def _fitted(config: AdapterSection, slot: Slot) -> AdapterSection | None:
    """Returns a layer's own options, or None if they leave it out."""
    if isinstance(config, Full):
        return config.model_copy(update={"bias": config.bias and slot.bias})
    if isinstance(config, IA3):
        named = not config.targets.preset_file and _fits(slot, config.targets.on_input)
        side = config.on_input or named
        return config.model_copy(update={"on_input": side})
    if not isinstance(config, _Ranked | Mora | Oft):
        return config
    update: dict[str, float | None] = {"rank": config.rank}
    blocks, index = config.blocks, slot.index
    if blocks.ranks and index is not None:
        update["rank"] = blocks.ranks[index]
    if isinstance(config, _Ranked):
        update |= {"alpha": config.alpha, "conv_rank": None, "conv_alpha": None}
        if blocks.alphas and index is not None:
            update["alpha"] = blocks.alphas[index]
        if slot.conv3x3 and index is not None:
            update |= _of_convolution(config, index)
    rank = update["rank"]
    if isinstance(config, DyLora) and rank and rank % config.unit:
        raise UserError(f"rank {rank} is no multiple of unit = {config.unit}", where="adapter.unit")
    return config.model_copy(update=update) if rank else None


def _of_convolution(config: _Ranked, index: int) -> dict[str, float | None]:
    """Returns rank and alpha of a 3x3 convolution, where they differ from its block's."""
    blocks, update = config.blocks, {}
    ranks, alphas = blocks.conv_ranks, blocks.conv_alphas
    rank = ranks[index] if ranks else config.conv_rank
    alpha = alphas[index] if alphas else config.conv_alpha
    if rank is not None:
        update["rank"] = rank
    if alpha is not None:
        update["alpha"] = alpha
    return update


def _check_blocks(config: AdapterSection) -> None:
    """Refuses ranks and alphas of blocks that the algorithm has not.

    Raises:
        UserError: such an option is given.
    """
    blocks = config.blocks
    given = {"ranks"} if blocks.ranks else set()
    given |= {n for n in ("alphas", "conv_ranks", "conv_alphas") if getattr(blocks, n)}
    if isinstance(config, Mora | Oft):
        given -= {"ranks"}
    if given and not isinstance(config, _Ranked):
        raise UserError(
            f"{', '.join(sorted(given))} mean nothing to this algorithm",
            where="adapter.blocks",
            remedy="A rate of 0 in down_rates, mid_rates or up_rates leaves a block out.",
        )
