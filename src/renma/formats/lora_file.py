"""A LoRA file in any naming, held by kohya's layer keys and LyCORIS' suffixes.

Namings that are read: kohya (also with diffusers' names for SDXL), LyCORIS' own (``lycoris_``),
diffusers and PEFT (``unet.<path>.lora_A.weight``, with or without ``base_model.model.``), and what
older diffusers wrote (``<path>.lora.down.weight``, ``<path>.processor.to_k_lora.down.weight``).
Written: kohya, diffusers, lycoris, and the naming a file was found in.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from renma.core.errors import UserError
from renma.formats import diffusers_lora, lora_names, module_names, peft_names, safetensors
from renma.formats.metadata import parse

WRITABLE = ("kohya", "diffusers", "lycoris")
ADDED = "renma_added_alpha"
"""Metadata of LyCORIS' naming: the layers that got an alpha only because LyCORIS wants one."""
BUNDLE = "bundle_emb."
Layers = dict[str, dict[str, Tensor]]

_IN_PROMPTS = "Programs that know embeddings (A1111, ComfyUI) load it as one."
_EXTRACTED = (
    "Merge it into its base model in the program that made it, then "
    "`renma file extract BASE MERGED OUT --rank N` writes a LoRA of the difference."
)
_KOHYA = re.compile(r"(lora_unet|lora_te[12]?|oft_unet|lycoris)_[^.]+\.")
_STABILITY = re.compile(r"lora_unet_(input_blocks|middle_block|output_blocks|label_emb)_")
_PARTS = {
    "unet.": "unet",
    "text_encoder.": "text_encoder",
    "text_encoder_1.": "text_encoder",
    "text_encoder_2.": "text_encoder_2",
}
_PROCESSOR = re.compile(
    r"(?P<path>.*?)(?:\.processor)?\.to_(?P<which>q|k|v|out)_lora\.(?P<side>down|up)\.weight"
)
_IN_UNET = {"q": "to_q", "k": "to_k", "v": "to_v", "out": "to_out.0"}
_IN_TEXT = {"q": "q_proj", "k": "k_proj", "v": "v_proj", "out": "out_proj"}


@dataclass
class LoraFile:
    """Everything in a LoRA file.

    Attributes:
        layers: kohya's layer key to {canonical suffix: tensor}, as stored: no alpha is added.
        metadata: text by key.
        naming: as found: ``kohya``, ``lycoris``, ``diffusers``, ``peft``, ``diffusers-old``, or
            ``dotted`` (kohya's suffixes behind diffusers' paths).
        found: canonical name (``key.suffix``) to the name it had in the file.
        embeddings: textual inversions that LyCORIS or A1111 put into the file (``bundle_emb.*``);
            kohya's and LyCORIS' naming can hold them.
        notes: sentences about what was not in the file itself.
    """

    layers: Layers
    metadata: dict[str, str] = field(default_factory=dict)
    naming: str = "kohya"
    found: dict[str, str] = field(default_factory=dict)
    embeddings: dict[str, Tensor] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Place:
    """Where one tensor of a dotted file belongs."""

    part: str
    path: str
    suffix: str


def read(path: Path) -> LoraFile:
    """Reads a LoRA file, memory-mapped.

    Raises:
        UserError: no safetensors file, or none that holds a LoRA for Stable Diffusion.
    """
    _, metadata = safetensors.read_header(path)
    tensors = safetensors.read_tensors(path)
    empty = next((name for name, tensor in tensors.items() if not tensor.numel()), None)
    if not tensors or empty:
        what = f"'{empty[:120]}' has no numbers" if empty else "holds no tensors"
        raise UserError(what, where=path)
    embeddings = {name: tensors.pop(name) for name in list(tensors) if name.startswith(BUNDLE)}
    if not tensors:
        raise UserError("holds embeddings alone, no LoRA", where=path, remedy=_IN_PROMPTS)
    file = _taken_apart(path, tensors, metadata)
    file.embeddings = embeddings
    return file


def _taken_apart(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> LoraFile:
    """Returns a file's layers, whatever the naming."""
    flat = sum(bool(_KOHYA.match(name)) for name in tensors)
    try:
        if flat == len(tensors):
            return _from_flat(tensors, metadata)
        if flat == 0:
            return _from_dotted(path, tensors, metadata)
    except UserError as error:
        raise UserError(error.what, where=error.where or path, remedy=error.remedy) from None
    except ValueError as error:
        raise UserError(str(error), where=path) from None
    odd = next(name for name in tensors if not _KOHYA.match(name))
    raise UserError(
        f"'{odd[:120]}' does not belong into a LoRA",
        where=path,
        remedy="Is it a checkpoint or several files in one? The LoRA's own file is expected.",
    )


def write(
    path: Path, file: LoraFile, naming: str = "kohya", dtype: torch.dtype | None = None
) -> None:
    """Writes a LoRA file atomically.

    Args:
        path: the file.
        file: what to write; it is not changed.
        naming: one of :data:`WRITABLE`, or ``file.naming`` for the very names it was found with.
        dtype: precision of floating-point tensors (default: as they are); an alpha that it cannot
            hold exactly keeps its own.

    Raises:
        UserError: a layer that the naming has no name for, or the disk is full.
    """
    tensors, metadata = named(file, naming, dtype)
    safetensors.save(path, tensors, metadata)


def named(
    file: LoraFile, naming: str, dtype: torch.dtype | None = None
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Returns the tensors and metadata that :func:`write` puts into a file.

    Raises:
        UserError: a layer that the naming has no name for.
    """
    layers = {
        key: dict(row) if dtype is None else lora_names.cast_layer(row, dtype)
        for key, row in file.layers.items()
    }
    own = {*diffusers_lora.KEYS, ADDED, "sshs_model_hash", "sshs_legacy_hash"}
    metadata = {k: v for k, v in file.metadata.items() if k not in own}
    if naming == "diffusers":
        return diffusers_lora.named(layers, metadata)
    if naming not in WRITABLE:
        assert naming == file.naming, naming
        return _as_found(file, layers) | file.embeddings, metadata
    spell = _lycoris_key if naming == "lycoris" else str
    keys = {key: spell(key) for key in layers}
    if len(set(keys.values())) < len(keys):
        raise UserError(
            "this naming has no place for two text encoders", remedy="Write it --to kohya."
        )
    if naming == "lycoris":
        layers, added = _with_alpha(layers)
        metadata |= {ADDED: json.dumps(added, separators=(",", ":"))} if added else {}
    tensors = {f"{keys[key]}.{s}": t for key, row in layers.items() for s, t in row.items()}
    tensors |= file.embeddings
    return tensors, metadata | hashes(tensors, metadata)


def hashes(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> dict[str, str]:
    """Returns kohya's two hashes of a file's content, ``sshs_model_hash`` and the legacy one.

    The legacy one (first 8 digits over 64 KiB at 1 MiB, of the file with ``ss_`` keys only) is what
    older web UIs called a model by.
    """
    kept = {key: value for key, value in metadata.items() if key.startswith("ss_")}
    piece = safetensors.excerpt(tensors, kept, 0x100000, 0x110000)
    return {
        "sshs_model_hash": safetensors.payload_hash(tensors),
        "sshs_legacy_hash": hashlib.sha256(piece).hexdigest()[:8],
    }


def _from_flat(tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> LoraFile:
    """Takes kohya's and LyCORIS' names apart; SDXL keys in diffusers' words become kohya's."""
    places: dict[str, tuple[str, str]] = {}
    heads = {name.partition(".")[0] for name in tensors}
    for head in heads:
        if place := _flat_place(head):
            places[head] = place
    sdxl = module_names.is_sdxl(places.values(), metadata) or any("te1_" in h for h in heads)
    sdxl = sdxl or any(map(_STABILITY.match, heads))
    keys = {
        head: module_names.layer_key(*places[head], sdxl=sdxl) if head in places else head
        for head in heads
    }
    # Stability's own names stay: they may count the blocks of a U-Net of another depth
    keys |= {h: h for h in heads if _STABILITY.match(h)}
    if len(set(keys.values())) < len(keys):
        raise UserError("names layers of one model in two ways")
    layers: Layers = {}
    found: dict[str, str] = {}
    for name, tensor in tensors.items():
        head, _, suffix = name.partition(".")
        if suffix not in peft_names.CANONICAL:
            raise _unknown(name)
        layers.setdefault(keys[head], {})[suffix] = tensor
        found[f"{keys[head]}.{suffix}"] = name
    naming = "lycoris" if all(h.startswith("lycoris_") for h in heads) else "kohya"
    added = parse(metadata.get(ADDED, ""))
    if naming == "lycoris" and (added == "*" or isinstance(added, list)):
        for key in layers if added == "*" else layers.keys() & set(map(str, added)):
            layers[key].pop("alpha", None)
            found.pop(f"{key}.alpha", None)
    layers = {key: peft_names.with_scalar(r) if "scalar" in r else r for key, r in layers.items()}
    return LoraFile(layers, metadata, naming, _still_there(found, layers))


def _still_there(found: Mapping[str, str], layers: Layers) -> dict[str, str]:
    """Returns the names without those of numbers that were multiplied into others."""
    gone = {f"{key}.scalar" for key, row in layers.items() if "scalar" not in row}
    return {name: theirs for name, theirs in found.items() if name not in gone}


def _unknown(name: str) -> UserError:
    """Returns the refusal of a tensor behind a layer's name that is of no known algorithm."""
    if name.endswith(".bias"):
        what = f"'{name[:120]}' is a bias inside a LoRA's factors, which no common program applies"
    else:
        what = f"'{name[:120]}' is of no algorithm that is known"
    return UserError(what, remedy=_EXTRACTED)


def _with_alpha(layers: Layers) -> tuple[Layers, list[str] | str]:
    """Adds alpha = rank where it is left out, without which LyCORIS does not load a layer.

    Returns:
        The layers, and the keys of those that got one (``*``: all; empty: none).
    """
    added = [
        key
        for key, row in layers.items()
        if "alpha" not in row and row.keys() & set(peft_names.RANKED)
    ]
    result = dict(layers)
    for key in added:
        row = layers[key]
        rank = next((row[s].shape[0] for s in peft_names.RANKED if s in row), 1)
        result[key] = {**row, "alpha": torch.tensor(float(rank))}
    return result, "*" if len(added) == len(layers) else added


def _flat_place(head: str) -> tuple[str, str] | None:
    """Returns (part, path) of a flat key; None for a model whose words are not known."""
    if head.startswith("lycoris_"):
        path = module_names.spelled(head.removeprefix("lycoris_"))
        return (module_names.part_of(path), path) if path else None
    try:
        return module_names.module_path(head.replace("oft_unet_", "lora_unet_", 1))
    except UserError:
        return None


def _from_dotted(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> LoraFile:
    """Takes the names of diffusers, PEFT and OneTrainer apart."""
    places = {name: _place(name) for name in tensors}
    sdxl = module_names.is_sdxl(((p.part, p.path) for p in places.values()), metadata)
    raw: Layers = {}
    found: dict[str, str] = {}
    paths: dict[str, tuple[str, str]] = {}
    for name, place in places.items():
        key = module_names.layer_key(place.part, place.path, sdxl=sdxl)
        if place.suffix in raw.setdefault(key, {}):
            raise UserError(f"'{name[:120]}' stands for a tensor that is there twice")
        raw[key][place.suffix] = tensors[name]
        found[f"{key}.{place.suffix}"] = name
        paths[key] = (place.part, place.path)
    layers, notes = diffusers_lora.canonical(raw, paths, metadata, path)
    plain = {k: v for k, v in metadata.items() if k not in diffusers_lora.KEYS}
    found = _still_there(found, layers)
    return LoraFile(layers, plain, _dotted_naming(tensors), found, notes=notes)


def _place(name: str) -> _Place:
    bare = name.removeprefix("base_model.model.")
    part = next((p for prefix, p in _PARTS.items() if bare.startswith(prefix)), None)
    if part:
        bare = bare.partition(".")[2]
    if match := _PROCESSOR.fullmatch(bare):
        part = part or module_names.part_of(match["path"])
        layer = (_IN_UNET if part == "unet" else _IN_TEXT)[match["which"]]
        return _Place(part, f"{match['path']}.{layer}", f"lora_{match['side']}.weight")
    if re.search(r"\.lora\w*(\.\w+)?\.bias$", bare):
        raise _unknown(name)
    path, suffix = peft_names.split(bare) or ("", "")
    if not path or (suffix == "weight" and part is None):
        raise UserError(
            f"is no LoRA that is known: '{name[:120]}'",
            remedy="Names like lora_unet_..., unet....lora_A.weight or lycoris_... are expected.",
        )
    part = part or module_names.part_of(path)
    if module_names.spelled(module_names.flat(path)) != path:
        raise UserError(f"'{name[:120]}' is no layer of a Stable Diffusion model")
    return _Place(part, path, suffix)


def _dotted_naming(names: Mapping[str, Tensor]) -> str:
    first = next(iter(names))
    if first.startswith("base_model."):
        return "peft"
    if any(re.search(r"lora(_linear_layer)?\.(down|up)\.", name) for name in names):
        return "diffusers-old"
    if any(name.endswith(".lora_down.weight") for name in names):
        return "dotted"
    return "diffusers" if first.startswith(tuple(_PARTS)) else "dotted"


def _as_found(file: LoraFile, layers: Layers) -> dict[str, Tensor]:
    """Returns the tensors under the names that the file had."""
    rows = {f"{key}.{s}": t for key, row in layers.items() for s, t in row.items()}
    unnamed = [name for name in rows if name not in file.found]
    if unnamed or rows.keys() != file.found.keys():
        raise UserError(
            f"cannot be written back in the naming it had ({file.naming})",
            remedy="Write it --to kohya or --to diffusers.",
        )
    return {file.found[name]: tensor for name, tensor in rows.items()}


def _lycoris_key(key: str) -> str:
    return "lycoris_" + module_names.flat(module_names.module_path(key)[1])
