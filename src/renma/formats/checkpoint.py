"""Weight files of Stable Diffusion models, read by the names that LoRA files use.

A checkpoint is one file with U-Net, text encoders and autoencoder in the names of Stability's own
code (CompVis/latent-diffusion, Stability-AI/generative-models). It differs from what diffusers
saves in more than names: OpenCLIP keeps query, key and value of an attention as the rows of one
tensor, and its text projection transposed. A :class:`Place` says where a weight lies, whatever the
file; only headers are read here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from renma.core.errors import UserError
from renma.formats import module_names, pickles, vae_names
from renma.formats.safetensors import Header, read_header

if TYPE_CHECKING:
    from torch import Tensor

Family = Literal["sd1", "sd2", "sdxl"]
BASE_VERSION: Mapping[Family, str] = {"sd1": "sd_v1", "sd2": "sd_v2", "sdxl": "sdxl_base_v1-0"}
"""``ss_base_model_version`` in LoRA files (kohya-ss/sd-scripts)."""

_UNETS = ("model.diffusion_model.", "diffusion_model.", "")
_CLIP = ("cond_stage_model.transformer.", "conditioner.embedders.0.transformer.")
_OPEN_CLIP = {
    "cond_stage_model.model.": "text_encoder",
    "conditioner.embedders.1.model.": "text_encoder_2",
}
_REFINER = "conditioner.embedders.0.model."
_BLOCK = re.compile(r"transformer\.resblocks\.(\d+)\.(.+)")
IN_BLOCK = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
    "attn.out_proj": "self_attn.out_proj",
}
"""Inside a block of OpenCLIP: its names to those of transformers."""
AROUND = {
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
    "text_projection": "text_projection.weight",
}
"""Outside its blocks: the same."""
_SD2_UNUSED = 23
"""SD 2 takes the output of block 22; its last block and projection are in no other program."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where one weight or bias lies.

    Attributes:
        part: ``unet``, ``vae``, ``text_encoder`` or ``text_encoder_2``.
        name: as diffusers names it, text encoders with ``text_model.``.
        key: of its layer in LoRA files; empty in the autoencoder.
        tensor: name of the tensor that holds it.
        shape: as a layer has it: (outputs, inputs[, height, width]).
        rows: first and last + 1 of a tensor that several layers share.
        transposed: whether the tensor is stored as (inputs, outputs).
    """

    part: str
    name: str
    key: str
    tensor: str
    shape: tuple[int, ...]
    rows: tuple[int, int] | None = None
    transposed: bool = False

    @property
    def module(self) -> str:
        """Module path: the name without ``.weight`` or ``.bias``."""
        return self.name.rpartition(".")[0]

    @property
    def kind(self) -> str:
        """``weight``, ``bias``, or what else a name ends with."""
        return self.name.rpartition(".")[2]

    def of(self, stored: Tensor) -> Tensor:
        """Returns the weight as a view of the tensor that holds it."""
        view = stored if self.rows is None else stored[slice(*self.rows)]
        view = view.t() if self.transposed else view
        return view if view.shape == self.shape else view.reshape(self.shape)  # 1x1 kernels


@dataclass(frozen=True)
class WeightFile:
    """One file of a model.

    Attributes:
        path: the file.
        header: dtype and shape of every tensor.
        metadata: of the file.
        family: what the names and shapes show; None if they are too few.
        places: of everything in U-Net and text encoders, in the header's order.
    """

    path: Path
    header: Header
    metadata: dict[str, str]
    family: Family | None
    places: tuple[Place, ...]


def read(path: Path) -> WeightFile:
    """Returns a checkpoint, or a U-Net in diffusers' names, from its header.

    Raises:
        UserError: a pickled file, a broken one, or another kind of model.
    """
    if pickles.is_pickled(path):
        raise UserError(
            "is a pickled checkpoint, and those can run code when they are opened",
            where=path,
            remedy="Give the .safetensors file of the same model, or convert this one.",
        )
    header, metadata = read_header(path)
    refuse_refiner(header, path)
    family = family_of(header)
    if family is not None and _prefix(header) is not None:
        return WeightFile(path, header, metadata, family, tuple(places(header, family, path)))
    if any(".attentions." in name for name in header):
        return diffusers_part("unet", path, unet_family(header))
    raise UserError(
        "is not a U-Net and no checkpoint of SD 1.x, SD 2.x or SDXL",
        where=path,
        remedy="Give one of those, or a diffusers folder.",
    )


def refuse_refiner(header: Header, path: Path) -> None:
    """Refuses the second model of SDXL, which no LoRA is made for.

    Raises:
        UserError: it is one.
    """
    if any(name.startswith(_REFINER) for name in header):
        raise UserError(
            "is an SDXL refiner", where=path, remedy="LoRAs are made for the SDXL base model."
        )


def family_of(header: Header) -> Family | None:
    """Returns the family of a checkpoint by its names and shapes; None if it is no such file."""
    prefix = _prefix(header)
    if prefix is None:
        return None
    deep = re.compile(rf"{re.escape(prefix)}\w+\.\d+\.1\.transformer_blocks\.1\.")
    if any(name.startswith("conditioner.embedders.") or deep.match(name) for name in header):
        return "sdxl"
    if any(name.startswith("cond_stage_model.model.") for name in header):
        return "sd2"
    if any(name.startswith("cond_stage_model.transformer.") for name in header):
        return "sd1"
    return unet_family(header)


def unet_family(header: Header) -> Family | None:
    """Returns the family of a U-Net alone, in either naming."""
    if module_names.is_sdxl(("unet", name) for name in header):
        return "sdxl"
    # SD 1 projects with 1x1 convolutions, SD 2 with matrices
    axes = {len(row["shape"]) for name, row in header.items() if name.endswith("proj_in.weight")}
    if axes == {4}:
        return "sd1"
    return "sd2" if axes == {2} else None


def diffusers_part(part: str, path: Path, family: Family | None) -> WeightFile:
    """Returns one part of a model as diffusers saves it: a file of its own, in the same names.

    Raises:
        UserError: no safetensors file.
    """
    header, metadata = read_header(path)
    places = []
    for tensor, row in header.items():
        name = tensor if part == "unet" else module_names.with_text_model(tensor)
        places.append(_place(part, name, family, tensor, tuple(row["shape"])))
    return WeightFile(path, header, metadata, family, tuple(places))


def vae_places(header: Header) -> list[Place]:
    """Returns where the autoencoder of a file lies, by diffusers' names; none if it has none.

    Args:
        header: of a checkpoint, or of an autoencoder's own file in either naming.
    """
    marks = ("encoder.conv_in.weight", "decoder.conv_in.weight")
    found = [p for p in vae_names.PREFIXES if all(f"{p}{mark}" in header for mark in marks)]
    if not found:
        return []
    names = {
        tensor.removeprefix(found[0]): tensor for tensor in header if tensor.startswith(found[0])
    }
    old, levels = vae_names.is_stability(names), vae_names.levels(names)
    places = []
    for rest, tensor in names.items():
        if not _OF_VAE.match(rest):
            continue
        name = vae_names.from_stability(rest, levels) if old else vae_names.renewed(rest)
        shape = tuple(header[tensor]["shape"])
        if vae_names.is_matrix(name) and shape[2:] in {(1,), (1, 1)}:
            shape = shape[:2]
        places.append(Place("vae", name, "", tensor, shape))
    return places


_OF_VAE = re.compile(r"(encoder|decoder|quant_conv|post_quant_conv)\.")


def _prefix(header: Header) -> str | None:
    return next((p for p in _UNETS if f"{p}input_blocks.0.0.weight" in header), None)


def _place(
    part: str,
    name: str,
    family: Family | None,
    tensor: str,
    shape: tuple[int, ...],
    rows: tuple[int, int] | None = None,
    transposed: bool = False,
) -> Place:
    key = module_names.layer_key(part, name.rpartition(".")[0], sdxl=family == "sdxl")
    return Place(part, name, key, tensor, shape, rows, transposed)


def places(header: Header, family: Family, path: Path) -> Iterator[Place]:
    """Yields where everything of a checkpoint's U-Net and text encoders lies.

    Args:
        header: of the checkpoint.
        family: what it holds.
        path: named in errors.

    Raises:
        UserError: OpenCLIP's query, key and value do not come apart.
    """
    unet = _prefix(header)
    for tensor, row in header.items():
        shape = tuple(row["shape"])
        if unet is not None and tensor.startswith(unet) and (unet or _BARE.match(tensor)):
            yield _of_unet(tensor, tensor.removeprefix(unet), family, shape)
            continue
        for prefix in _CLIP:
            rest = tensor.removeprefix(prefix)
            if rest != tensor and not rest.endswith("position_ids"):
                name = module_names.with_text_model(rest)
                yield _place("text_encoder", name, family, tensor, shape)
        for prefix, part in _OPEN_CLIP.items():
            if tensor.startswith(prefix):
                rest = tensor.removeprefix(prefix)
                yield from _of_open_clip(path, part, tensor, rest, family, shape)


_BARE = re.compile(r"(input_blocks|middle_block|output_blocks|time_embed|label_emb|out)\.")


def _of_unet(tensor: str, rest: str, family: Family, shape: tuple[int, ...]) -> Place:
    module, _, kind = rest.rpartition(".")
    path = module_names.from_stability(module)
    if family != "sdxl":  # SD 2's unCLIP: what diffusers calls add_embedding is SDXL's
        path = path.replace("add_embedding.", "class_embedding.")
    return _place("unet", f"{path}.{kind}", family, tensor, shape)


def _of_open_clip(
    path: Path, part: str, tensor: str, rest: str, family: Family, shape: tuple[int, ...]
) -> Iterator[Place]:
    if rest in AROUND:
        transposed = rest == "text_projection"
        if not (transposed and family == "sd2"):
            shape = shape[::-1] if transposed else shape
            yield _place(part, AROUND[rest], family, tensor, shape, None, transposed)
        return
    found = _BLOCK.fullmatch(rest)
    if found is None or (family == "sd2" and int(found[1]) >= _SD2_UNUSED):
        return
    head, inner = f"text_model.encoder.layers.{found[1]}", found[2]
    if not inner.startswith("attn.in_proj_"):
        module, _, kind = inner.rpartition(".")
        name = f"{head}.{IN_BLOCK.get(module, module)}.{kind}"
        yield _place(part, name, family, tensor, shape)
        return
    if not shape or shape[0] % 3:
        raise UserError(f"'{tensor}' has shape {shape}, not three parts", where=path)
    size, kind = shape[0] // 3, inner.removeprefix("attn.in_proj_")
    for number, letter in enumerate("qkv"):
        rows = (number * size, (number + 1) * size)
        name = f"{head}.self_attn.{letter}_proj.{kind}"
        yield _place(part, name, family, tensor, (size, *shape[1:]), rows)
