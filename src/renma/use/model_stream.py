"""The weights of a base model, read and written one at a time, by the names LoRA files use.

Only headers are read ahead, so a model of any size takes the memory of its largest weight.
"""

from __future__ import annotations

import json
import struct
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from renma import assets
from renma.core.errors import UserError
from renma.engine.model import DTYPES
from renma.formats import module_names
from renma.formats.diffusers_folder import weight_file
from renma.formats.safetensors import Header, read_header

Reader = Callable[[str], Tensor]
"""Reads one tensor by its name."""
PARTS = ("text_encoder", "text_encoder_2", "unet")
_NAMES = {"fp32": "F32", "fp16": "F16", "bf16": "BF16"}
_FLOATS = frozenset({"F64", "F32", "F16", "BF16"})


@dataclass(frozen=True)
class PartFile:
    """One weight file of a model.

    Attributes:
        part: ``unet``, ``text_encoder`` or ``text_encoder_2``.
        path: the file.
        header: dtype and shape of every tensor.
        metadata: of the file.
        sdxl: whether layer keys are spelled as for SDXL.
    """

    part: str
    path: Path
    header: Header
    metadata: dict[str, str]
    sdxl: bool

    def key(self, name: str) -> str:
        """Returns the layer key of a tensor's module, such as ``lora_unet_..._to_q``."""
        return module_names.layer_key(self.part, self.module(name), sdxl=self.sdxl)

    @staticmethod
    def module(name: str) -> str:
        """Returns the module path of a tensor: its name without ``.weight`` or ``.bias``."""
        return name.rpartition(".")[0]

    def shape(self, name: str) -> tuple[int, ...]:
        """Returns a tensor's shape."""
        return tuple(self.header[name]["shape"])

    def open(self) -> AbstractContextManager[Any]:
        """Opens the file; ``get_tensor(name)`` reads one tensor."""
        return safe_open(self.path, "pt")


def folder_of(name: str) -> Path:
    """Returns the folder of a model: ``mame`` or a diffusers folder.

    Raises:
        UserError: there is no such folder.
    """
    folder = assets.MAME if name == "mame" else Path(name).expanduser()
    if folder.is_dir():
        return folder
    what = "is a file, not a diffusers folder" if folder.is_file() else "there is no such folder"
    raise UserError(what, where=folder, remedy="Give a diffusers folder, or 'mame'.")


def of_folder(folder: Path) -> dict[str, PartFile]:
    """Returns the adaptable parts of a diffusers folder by name.

    Raises:
        UserError: it has no U-Net, or weights that cannot be read.
    """
    found = {p: weight_file(folder / p) for p in PARTS if (folder / p).is_dir()}
    if "unet" not in found:
        raise UserError(
            "holds no U-Net", where=folder, remedy="Is this a folder that diffusers saved?"
        )
    sdxl = "text_encoder_2" in found
    return {part: _weights(part, path, sdxl) for part, path in found.items()}


def of_unet(path: Path) -> dict[str, PartFile]:
    """Returns a U-Net's weight file as the one part of a model.

    Raises:
        UserError: no safetensors file, or not a U-Net in diffusers' names.
    """
    found = _weights("unet", path, sdxl=False)
    if not any(".attentions." in name for name in found.header):
        raise UserError(
            "is not a U-Net in diffusers' names",
            where=path,
            remedy="Convert the checkpoint once: StableDiffusionPipeline.from_single_file(FILE)"
            ".save_pretrained(FOLDER).",
        )
    sdxl = module_names.is_sdxl(("unet", name) for name in found.header)
    return {"unet": _weights("unet", path, sdxl)}


def rewrite(
    source: PartFile, target: Path, precision: str, change: Callable[[str, Reader], Tensor]
) -> None:
    """Writes a weight file with some tensors changed, one after another.

    Args:
        source: the old file.
        target: the new file.
        precision: ``keep`` or a precision for all floating-point tensors.
        change: gets a tensor's name and a reader of stored ones; returns the new one.

    Raises:
        UserError: a number is too large for the precision.
    """
    header, order = _header(source, precision)
    target.parent.mkdir(parents=True, exist_ok=True)
    with source.open() as file, target.open("wb") as out:
        out.write(header)
        for name in order:
            new = change(name, file.get_tensor)
            if source.header[name]["dtype"] in _FLOATS:
                new = new.to(_torch(source.header[name]["dtype"], precision))
                _need_finite(name, new, source.path)
            if new.numel():
                out.write(new.contiguous().reshape(-1).view(torch.uint8).numpy().data)


def stored_dtype(source: PartFile, precision: str) -> torch.dtype:
    """Returns the precision asked for; ``keep``: the one most of a part's weights have."""
    kinds = Counter(row["dtype"] for row in source.header.values() if row["dtype"] in _FLOATS)
    return _torch(kinds.most_common(1)[0][0], precision)


def _torch(stored: str, precision: str) -> torch.dtype:
    if precision != "keep":
        return DTYPES[precision]
    return {name: DTYPES[key] for key, name in _NAMES.items()}.get(stored, torch.float64)


def _need_finite(name: str, tensor: Tensor, where: Path) -> None:
    if not tensor.isfinite().all():
        raise UserError(
            f"'{name}' would be NaN or infinite in {tensor.dtype}",
            where=where,
            remedy="Use --precision fp32, or smaller weights.",
        )


def missing(keys: Iterable[str], parts: Mapping[str, PartFile]) -> list[str]:
    """Returns the layer keys that no part of a model has."""
    known = {w.key(name) for w in parts.values() for name in w.header if name.endswith(".weight")}
    return sorted(set(keys) - known)


def _weights(part: str, path: Path, sdxl: bool) -> PartFile:
    header, metadata = read_header(path)
    return PartFile(part, path, header, metadata, sdxl)


def _header(source: PartFile, precision: str) -> tuple[bytes, list[str]]:
    """Returns the first bytes of the new file and its tensors in order."""
    order = sorted(source.header, key=lambda name: source.header[name]["data_offsets"][0])
    rows: dict[str, Any] = {"__metadata__": source.metadata} if source.metadata else {}
    offset = 0
    for name in order:
        row = source.header[name]
        begin, end = row["data_offsets"]
        kind, size = row["dtype"], end - begin
        if precision != "keep" and kind in _FLOATS:
            kind = _NAMES[precision]
            size = torch.Size(row["shape"]).numel() * DTYPES[precision].itemsize
        rows[name] = {"dtype": kind, "shape": row["shape"], "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(rows, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text, order
