"""The weights of a base model, read and written one at a time, by the names LoRA files use.

Only headers are read ahead, so a model of any size takes the memory of its largest weight. A model
is a diffusers folder or a single-file checkpoint; what follows sees no difference.
"""

from __future__ import annotations

import json
import struct
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import safe_open
from torch import Tensor

from renma.core.errors import UserError
from renma.engine.model import DTYPES
from renma.formats import model_weights
from renma.formats.checkpoint import Family, Place, WeightFile

Reader = Callable[[str], Tensor]
"""Reads one tensor by its name."""
_NAMES = {"fp32": "F32", "fp16": "F16", "bf16": "BF16"}
_FLOATS = frozenset({"F64", *_NAMES.values()})
_EIGHT_BITS = frozenset({"F8_E4M3", "F8_E5M2"})
_STALE = ("modelspec.hash_sha256", "sshs_model_hash", "sshs_legacy_hash")
_CHUNK = 1 << 20
"""Bytes of a tensor that is copied as it is."""


@dataclass(frozen=True)
class Model:
    """A base model on disk.

    Attributes:
        path: the folder or the single file.
        files: those that hold U-Net and text encoders.
    """

    path: Path
    files: tuple[WeightFile, ...]

    @property
    def family(self) -> Family | None:
        """What the names and shapes of the weights show."""
        return self.files[0].family

    @property
    def parts(self) -> list[str]:
        """Those it has: ``unet``, ``text_encoder``, ``text_encoder_2``."""
        there = {place.part for file in self.files for place in file.places}
        return [part for part in model_weights.PARTS if part in there]

    def part(self, name: str) -> Part:
        """Returns one part."""
        file = next(f for f in self.files if any(p.part == name for p in f.places))
        return Part(name, file, {p.name: p for p in file.places if p.part == name})


@dataclass(frozen=True)
class Part:
    """One part of a model.

    Attributes:
        name: ``unet``, ``text_encoder`` or ``text_encoder_2``.
        file: the file it is in, alone or with others.
        places: where its weights and biases lie, by diffusers' names.
    """

    name: str
    file: WeightFile
    places: dict[str, Place]

    def stored_dtype(self, precision: str) -> torch.dtype:
        """Returns the precision asked for; ``keep``: the one most of the weights have."""
        rows = (self.file.header[place.tensor]["dtype"] for place in self.places.values())
        kinds = Counter(kind for kind in rows if kind in _FLOATS)
        return _torch(kinds.most_common(1)[0][0] if kinds else "F32", precision)

    def is_float(self, place: Place) -> bool:
        """Says whether a place holds numbers that can be compared."""
        return self.file.header[place.tensor]["dtype"] in _FLOATS | _EIGHT_BITS


def model(name: str) -> Model:
    """Returns a model: ``mame``, a diffusers folder, a checkpoint, or a U-Net's file.

    Raises:
        UserError: there is no such model, or it is of another kind.
    """
    path = model_weights.place_of(name)
    return Model(path, model_weights.model_files(path))


def reading(source: WeightFile) -> AbstractContextManager[Any]:
    """Opens a file; ``get_tensor(name)`` reads one tensor."""
    return safe_open(source.path, "pt")


def rewrite(
    source: WeightFile,
    target: Path,
    precision: str,
    change: Callable[[str, Reader], Tensor | None],
) -> None:
    """Writes a weight file with some tensors changed, one after another.

    The others keep their bits, unless a precision is asked for.

    Args:
        source: the old file.
        target: the new file.
        precision: ``keep`` or a precision for all floating-point weights.
        change: gets a tensor's name and a reader of stored ones; returns the new one, or None to
            leave it as it is.

    Raises:
        UserError: a number is too large for the precision, or it cannot hold merged weights.
    """
    start, order, rows = _plan(source, precision)
    target.parent.mkdir(parents=True, exist_ok=True)
    with reading(source) as file, source.path.open("rb") as raw, target.open("wb") as out:
        out.write(_header(rows, source.metadata))
        for name in order:
            new, kind = change(name, file.get_tensor), rows[name]["dtype"]
            begin, end = source.header[name]["data_offsets"]
            if new is None and kind == source.header[name]["dtype"]:
                _copy(raw, out, start + begin, end - begin)
                continue
            kept = new is None
            new = file.get_tensor(name) if new is None else new
            if kind in _EIGHT_BITS:
                raise UserError(
                    f"'{name}' has 8 bits a number, too few for what is merged",
                    where=source.path,
                    remedy="Use --precision fp16.",
                )
            cast = new.to(_torch(kind, "keep"))
            if not cast.isfinite().all() and not (kept and not new.isfinite().all()):
                raise UserError(
                    f"'{name}' would be NaN or infinite in {cast.dtype}",
                    where=source.path,
                    remedy="Use --precision fp32, or smaller weights.",
                )
            if cast.numel():
                out.write(cast.contiguous().reshape(-1).view(torch.uint8).numpy().data)


def missing(keys: Iterable[str], base: Model) -> list[str]:
    """Returns the layer keys that no part of a model has."""
    known = {p.key for file in base.files for p in file.places if p.kind == "weight"}
    return sorted(set(keys) - known)


def _torch(stored: str, precision: str) -> torch.dtype:
    if precision != "keep":
        return DTYPES[precision]
    return {name: DTYPES[key] for key, name in _NAMES.items()}.get(stored, torch.float64)


def _plan(source: WeightFile, precision: str) -> tuple[int, list[str], dict[str, dict[str, Any]]]:
    """Returns where the old numbers begin, the tensors in order, and the new header's rows."""
    with source.path.open("rb") as file:
        start = 8 + struct.unpack("<Q", file.read(8))[0]
    order = sorted(source.header, key=lambda name: source.header[name]["data_offsets"])
    rows: dict[str, dict[str, Any]] = {}
    offset = 0
    for name in order:
        row = source.header[name]
        begin, end = row["data_offsets"]
        kind, size = row["dtype"], end - begin
        if precision != "keep" and kind in _FLOATS | _EIGHT_BITS and not _of_schedule(name):
            kind = _NAMES[precision]
            size = torch.Size(row["shape"]).numel() * DTYPES[precision].itemsize
        rows[name] = {"dtype": kind, "shape": row["shape"], "data_offsets": [offset, offset + size]}
        offset += size
    return start, order, rows


def _of_schedule(name: str) -> bool:
    """Says whether a checkpoint's tensor is a table of the noise schedule, which halves ruin."""
    return "." not in name or name.startswith("denoiser.")


def _header(rows: dict[str, dict[str, Any]], metadata: dict[str, str]) -> bytes:
    kept = {key: value for key, value in metadata.items() if key not in _STALE}
    table: dict[str, Any] = {"__metadata__": kept, **rows} if kept else dict(rows)
    text = json.dumps(table, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def _copy(source: BinaryIO, out: BinaryIO, start: int, size: int) -> None:
    source.seek(start)
    while size:
        data = source.read(min(size, _CHUNK))
        if not data:
            raise UserError("is cut off", where=source.name)
        out.write(data)
        size -= len(data)
