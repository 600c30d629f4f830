"""Pickled checkpoints (.ckpt, .pt), opened by torch's weights-only reader and by nothing else.

A pickle can run code when it is opened; that reader builds tensors and plain containers and refuses
everything else. Numbers stay in the file until they are used.
"""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import TYPE_CHECKING

from renma.core.errors import UserError
from renma.formats.safetensors import Header

if TYPE_CHECKING:
    from torch import Tensor

SUFFIXES = frozenset({".ckpt", ".pt", ".pth", ".bin"})
_INSTEAD = "Give the .safetensors file of the same model."
_OLD = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""The pickled magic number that torch before 1.6 (2020) began its files with; later ones are zip
archives, whose numbers can stay in the file."""


def is_pickled(path: Path) -> bool:
    """Says whether a file's name is that of a pickled checkpoint."""
    return path.suffix.lower() in SUFFIXES


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Returns the tensors of a checkpoint by name, memory-mapped, as they are stored.

    Raises:
        UserError: no such file, not a checkpoint, one that holds more than weights, or one of the
            format before torch 1.6.
    """
    import torch

    try:
        _refuse_old(path)
        tree = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except FileNotFoundError:
        raise UserError("there is no such file", where=path) from None
    except pickle.UnpicklingError as error:
        raise UserError(
            f"is not opened: it holds {_odd(str(error))}, which could run code",
            where=path,
            remedy=_INSTEAD,
        ) from None
    except UserError:
        raise
    except Exception as error:  # a broken zip file, a text ...
        reason = str(error).strip().splitlines()[:1] or [type(error).__name__]
        raise UserError(
            f"cannot be read as a checkpoint: {reason[0][:160]}", where=path, remedy=_INSTEAD
        ) from None
    if isinstance(tree, dict) and isinstance(tree.get("state_dict"), dict):
        tree = tree["state_dict"]
    found = tree if isinstance(tree, dict) else {}
    tensors = {str(name): t for name, t in found.items() if isinstance(t, torch.Tensor)}
    if not tensors:
        raise UserError("holds no tensors by name", where=path, remedy=_INSTEAD)
    return tensors


def _refuse_old(path: Path) -> None:
    """Refuses the format before torch 1.6, which can only be read into memory as a whole.

    Raises:
        UserError: it is of that format; said is how to convert it without running anything in it.
    """
    with path.open("rb") as file:
        if file.read(len(_OLD)) != _OLD:
            return
    new = f"new-{path.name}"
    raise UserError(
        "is a pickled checkpoint in the format before PyTorch 1.6 (2020)",
        where=path,
        remedy=f"{_INSTEAD} Or convert it once, in its folder; weights_only runs no code in it: "
        f"python -c \"import torch; torch.save(torch.load('{path.name}', map_location='cpu', "
        f"weights_only=True), '{new}')\"",
    )


def read_header(path: Path) -> tuple[Header, dict[str, str]]:
    """Returns names, types and shapes as a safetensors header has them, and no metadata.

    Raises:
        UserError: as :func:`read_tensors`.
    """
    header: Header = {}
    for name, tensor in read_tensors(path).items():
        kind = _NAMES.get(str(tensor.dtype).removeprefix("torch."), str(tensor.dtype))
        size = tensor.numel() * tensor.element_size()
        header[name] = {"dtype": kind, "shape": list(tensor.shape), "data_offsets": [0, size]}
    return header, {}


_NAMES = {
    "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16",
    "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2",
    "int64": "I64", "int32": "I32", "int16": "I16", "int8": "I8", "uint8": "U8", "bool": "BOOL",
}  # fmt: skip


def _odd(message: str) -> str:
    """Returns what torch's refusal names."""
    found = re.search(r"GLOBAL ([\w.]+)|Unsupported (?:global|class|operand)\S* ([\w.]+)", message)
    return f"'{found[1] or found[2]}'" if found else "more than weights"
