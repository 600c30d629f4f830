"""Reading and writing safetensors files.

Format (huggingface/safetensors): 8 bytes header length, a JSON header {name: {dtype, shape,
data_offsets}, "__metadata__": {text: text}}, then the numbers. The library's own writer puts the
metadata in random order, so equal content would give different bytes; this one sorts it.

Files come from strangers, so the header is checked before a number is read: sizes, duplicate and
odd names, types, shapes that fit their bytes, no byte used twice or not at all.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from renma.core.errors import UserError
from renma.core.store import write_atomic

if TYPE_CHECKING:
    import torch
    from torch import Tensor

MAX_HEADER = 25_000_000
"""Bytes. The format allows 100 MB; real files, long tag lists included, have a few hundred kB."""
MAX_TENSORS = 50_000
LONGEST_NAME = 500
MOST_AXES = 8
_BITS = {
    "F64": 64, "F32": 32, "F16": 16, "BF16": 16, "F8_E4M3": 8, "F8_E5M2": 8, "BOOL": 8,
    "I64": 64, "I32": 32, "I16": 16, "I8": 8, "U64": 64, "U32": 32, "U16": 16, "U8": 8,
}  # fmt: skip
Header = dict[str, dict[str, Any]]


def read_header(path: Path) -> tuple[Header, dict[str, str]]:
    """Returns (tensor facts by name, metadata) without reading a number.

    Raises:
        UserError: no such file, or not a safetensors file; nothing large is allocated first.
    """
    try:
        if path.exists() and not path.is_file():
            kind = "a folder" if path.is_dir() else "no ordinary file"
            raise UserError(f"is {kind}, not a safetensors file", where=path)
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(8)
            length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
            if not 2 <= length <= size - 8:
                raise UserError(
                    "is not a safetensors file, or it is cut off", where=path, remedy=_hint(path)
                )
            if length > MAX_HEADER:
                raise UserError(
                    f"has a header of {length:,} bytes, more than {MAX_HEADER:,}", where=path
                )
            text = file.read(length)
            if text.count(b'"dtype"') > MAX_TENSORS:  # before a table of them is built
                raise UserError(f"describes more than {MAX_TENSORS:,} tensors", where=path)
            header = json.loads(text, object_pairs_hook=_unique)
    except FileNotFoundError:
        raise UserError("there is no such file", where=path) from None
    except OSError as error:  # no right to read it, a loop of links, a path through a file
        raise UserError(f"cannot be read: {error.strerror}", where=path) from None
    except (ValueError, RecursionError) as error:
        reason = f": {error}" if isinstance(error, _TwiceError) else ""
        raise UserError(f"has a broken header{reason}", where=path, remedy=_hint(path)) from None
    metadata = header.pop("__metadata__", {}) if isinstance(header, dict) else None
    problem = "it is no table" if metadata is None else _problem(header, size - 8 - length)
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        problem = problem or "its metadata is no table of texts"
    if problem:
        raise UserError(
            f"has a broken header: {problem}", where=path, remedy="Download or copy it again."
        )
    return header, metadata or {}


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Returns all tensors, memory-mapped, in the precision they are stored in.

    Raises:
        UserError: as :func:`read_header`.
    """
    return _mapped(path, read_header(path)[0])


def read_tensors_as(
    path: Path, dtype: torch.dtype, device: torch.device, names: Collection[str] | None = None
) -> dict[str, Tensor]:
    """Returns tensors on a device, floating-point ones in ``dtype``.

    Tensors that already fit stay memory-mapped. The others are read one by one and cast, so the
    file's own pages never stand in memory beside the copies.

    Args:
        path: the file.
        dtype: of floating-point tensors.
        device: target.
        names: which tensors (default: all); nothing else of the file is read.

    Raises:
        UserError: as :func:`read_header`.
    """
    header, _ = read_header(path)
    if names is not None:
        header = {name: header[name] for name in names}
    wanted = {name for name, known in _dtypes().items() if known == dtype}
    floats = (_FLOATS | _EIGHT_BITS) - wanted
    other = {name: row for name, row in header.items() if row["dtype"] in floats}
    mapped = _mapped(path, header.keys() - other.keys())
    found = {name: tensor.to(device) for name, tensor in mapped.items()}
    found |= {name: t.to(dtype).to(device) for name, t in _stream(path, other)}
    return {name: found[name] for name in header}


def _mapped(path: Path, names: Iterable[str]) -> dict[str, Tensor]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in names}
    except SafetensorError as error:
        raise UserError(f"cannot be read: {error}", where=path) from None


def _stream(path: Path, header: Header) -> Iterator[tuple[str, Tensor]]:
    import torch

    dtypes = _dtypes()
    with path.open("rb") as file:
        start = 8 + struct.unpack("<Q", file.read(8))[0]
        for name, row in sorted(header.items(), key=lambda item: item[1]["data_offsets"][0]):
            begin, end = row["data_offsets"]
            if row["dtype"] not in dtypes:
                raise UserError(f"'{name}' is stored as {row['dtype']}", where=path)
            buffer = bytearray(end - begin)
            file.seek(start + begin)
            if file.readinto(buffer) != len(buffer):
                raise UserError("is cut off", where=path)
            tensor = torch.empty(0, dtype=dtypes[row["dtype"]])
            if buffer:
                tensor = torch.frombuffer(buffer, dtype=dtypes[row["dtype"]])
            yield name, tensor.reshape(row["shape"])


def serialize(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """Returns the bytes of a safetensors file; equal content gives equal bytes.

    All of it at once, so for small ones; :func:`save` writes tensor by tensor.
    """
    return b"".join([_head(tensors, metadata), *map(_raw, _ordered(tensors))])


def save(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Writes a safetensors file atomically, one tensor after another.

    Raises:
        UserError: the disk is full or the folder cannot be written.
    """
    head = _head(tensors, metadata)

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            file.write(head)
            for tensor in _ordered(tensors):
                file.write(_raw(tensor))

    write_atomic(path, write, size=len(head) + sum(tensor.nbytes for tensor in tensors.values()))


def payload_hash(tensors: Mapping[str, Tensor]) -> str:
    """Returns SHA-256 of the bytes after the header: kohya's ``sshs_model_hash``."""
    found = hashlib.sha256()
    for tensor in _ordered(tensors):
        found.update(_raw(tensor))
    return found.hexdigest()


def excerpt(
    tensors: Mapping[str, Tensor], metadata: Mapping[str, str], start: int, stop: int
) -> bytes:
    """Returns ``serialize(tensors, metadata)[start:stop]``; other tensors are not read."""
    head = _head(tensors, metadata)
    parts, place = [head[start:stop]], len(head)
    for tensor in _ordered(tensors):
        end = place + tensor.nbytes
        if place < stop and start < end:
            parts.append(bytes(_raw(tensor)[max(start - place, 0) : stop - place]))
        place = end
    return b"".join(parts)


def _ordered(tensors: Mapping[str, Tensor]) -> list[Tensor]:
    return [tensors[name] for name in _order(tensors)]


def _order(tensors: Mapping[str, Tensor]) -> list[str]:
    # widest numbers first, so that every tensor starts at a multiple of its own item size
    return sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))


def _head(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """Returns everything before the numbers: the header and its length."""
    header: dict[str, Any] = {}
    if metadata:
        header["__metadata__"] = dict(sorted(metadata.items()))
    offset = 0
    for name in _order(tensors):
        tensor = tensors[name]
        header[name] = {
            "dtype": _dtype_name(tensor),
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + tensor.nbytes],
        }
        offset += tensor.nbytes
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def _raw(tensor: Tensor) -> memoryview:
    """Returns a tensor's numbers as bytes: its own memory where it lies in order."""
    import torch

    if not tensor.numel():
        return memoryview(b"")
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data


_FLOATS = frozenset({"F64", "F32", "F16", "BF16"})
_EIGHT_BITS = frozenset({"F8_E4M3", "F8_E5M2"})


def _dtypes() -> dict[str, torch.dtype]:
    import torch

    return {
        "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
        "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8,
        "U8": torch.uint8, "BOOL": torch.bool,
        "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
    }  # fmt: skip


def _dtype_name(tensor: Tensor) -> str:
    return next(name for name, dtype in _dtypes().items() if dtype == tensor.dtype)


class _TwiceError(ValueError):
    """A name that stands twice in one table; readers would not agree on which one counts."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        raise _TwiceError("a name stands in it twice")
    return table


def _problem(header: Header, size: int) -> str:
    """Returns what is wrong with the tensors' names, types or places; empty if nothing is."""
    if len(header) > MAX_TENSORS:
        return f"{len(header):,} tensors, more than {MAX_TENSORS:,}"
    places: list[tuple[int, int]] = []
    for name, row in header.items():
        if len(name) > LONGEST_NAME or not name.isprintable():
            return f"a name of {len(name)} characters that is too long or cannot be printed"
        place = _place(row)
        if place is None:
            return f"'{name}' has a type, shape or place that does not fit"
        places.append(place)
    end = 0
    for start, stop in sorted(places):
        if start != end:
            return "tensors overlap or leave holes"
        end = stop
    return "" if end == size else f"the file has {size:,} bytes of numbers, {end:,} are described"


def _place(row: Any) -> tuple[int, int] | None:
    """Returns first and last byte of a tensor; None if its description contradicts itself."""
    if not isinstance(row, dict) or row.keys() != {"dtype", "shape", "data_offsets"}:
        return None
    shape, offsets = row["shape"], row["data_offsets"]
    if not _counts(shape) or not _counts(offsets) or len(offsets) != 2 or len(shape) > MOST_AXES:
        return None
    bits = _BITS.get(row["dtype"]) if isinstance(row["dtype"], str) else None
    start, end = offsets
    if bits is None or math.prod(shape) * bits != (end - start) * 8:
        return None
    return start, end


def _counts(values: Any) -> bool:
    return isinstance(values, list) and all(type(v) is int and v >= 0 for v in values)


def _hint(path: Path) -> str:
    if path.suffix.lower() in {".ckpt", ".pt", ".bin", ".pth"}:
        return "Convert pickled weights to safetensors first."
    return "Download or copy it again."
