"""What resume needs, in one safetensors file: adapter, optimizer, counters.

One file is one rename, so a state is whole or absent; its own hash tells a damaged one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from renma.core.errors import UserError
from renma.core.store import digest
from renma.formats import safetensors

VERSION = "1"
KEEP = 2
"""States kept: the newest, and the one before in case the newest is damaged."""


def save(folder: Path, step: int, tree: Mapping[str, Any]) -> Path:
    """Writes the state of a step, then removes all but the newest :data:`KEEP`.

    Args:
        folder: the run's ``state`` folder.
        step: optimizer steps done.
        tree: nested dicts and lists of tensors, numbers, texts, None.
    """
    tensors: dict[str, Tensor] = {}
    text = json.dumps(_pack(tree, tensors))
    metadata = {
        "renma_state": VERSION,
        "step": str(step),
        "tree": text,
        "sha256": _checksum(text, str(step), tensors),
    }
    path = folder / f"step-{step:08d}.safetensors"
    safetensors.save(path, tensors, metadata)
    for old in states(folder)[:-KEEP]:
        old.unlink()
    return path


def states(folder: Path) -> list[Path]:
    """Returns the states of a run, oldest first."""
    return sorted(folder.glob("step-*.safetensors")) if folder.is_dir() else []


def load(path: Path) -> dict[str, Any]:
    """Returns the tree of :func:`save`.

    Raises:
        UserError: the file is damaged or of another version.
    """
    _, metadata = safetensors.read_header(path)
    if metadata.get("renma_state") != VERSION:
        raise UserError("is not a state of this version of renma", where=path)
    tensors = {name: tensor.clone() for name, tensor in safetensors.read_tensors(path).items()}
    text, step = metadata.get("tree", ""), metadata.get("step", "")
    if _checksum(text, step, tensors) != metadata.get("sha256"):
        raise UserError("is damaged (its checksum does not fit)", where=path)
    tree = _unpack(json.loads(text), tensors)
    assert isinstance(tree, dict)
    return tree


def _checksum(tree: str, step: str, tensors: Mapping[str, Tensor]) -> str:
    """Returns a hash over everything in the file: counters and scalars as well as tensors."""
    return digest([tree, step, safetensors.payload_hash(tensors)])


def _pack(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        name = f"t{len(tensors):05d}"
        tensors[name] = value
        return {"tensor": name}
    if isinstance(value, Mapping):  # pairs, because optimizer states are keyed by numbers
        return {"dict": [[key, _pack(item, tensors)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        return {"list": [_pack(item, tensors) for item in value]}
    assert value is None or isinstance(value, bool | int | float | str), type(value)
    return value


def _unpack(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if not isinstance(value, dict):
        return value
    if "tensor" in value:
        return tensors[value["tensor"]]
    if "dict" in value:
        return {key: _unpack(item, tensors) for key, item in value["dict"]}
    return [_unpack(item, tensors) for item in value["list"]]


def to_cpu(tree: Any) -> Any:
    """Returns the tree with its tensors copied to the CPU."""
    if isinstance(tree, torch.Tensor):
        return tree.detach().to("cpu", copy=True)
    if isinstance(tree, Mapping):
        return {key: to_cpu(item) for key, item in tree.items()}
    if isinstance(tree, list | tuple):
        return [to_cpu(item) for item in tree]
    return tree
