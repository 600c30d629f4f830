"""What resume needs, in one safetensors file: adapter, optimizer, counters.

One file is one rename, so a state is whole or absent; its own hash tells a damaged one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from renma.core.errors import UserError
from renma.core.store import digest
from renma.formats import safetensors

VERSION = "2"
_NAME = re.compile(r"step-\d{8,}\.safetensors")
KEEP = 2
"""States kept: the newest, and the one before in case the newest is damaged."""


def save(folder: Path, step: int, tree: Mapping[str, Any], keep: int = KEEP) -> Path:
    """Writes the state of a step, then removes those that are not needed any more.

    Args:
        folder: the run's ``state`` folder.
        step: optimizer steps done.
        tree: nested dicts and lists of tensors, numbers, texts, None.
        keep: states left afterwards, this one among them.

    Raises:
        UserError: the disk is full or the folder cannot be written; the old states stay.
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
    by_step = {step_of(found): found for found in states(folder)}
    for old in surplus(by_step, step, keep):
        with suppress(OSError):  # it is in nobody's way, and is tried again at the next save
            by_step[old].unlink()
    return path


def surplus(steps: Iterable[int], newest: int, keep: int) -> list[int]:
    """Returns the states that may go once that of step ``newest`` is written.

    Those of later steps are what a run left behind that went back to an earlier state, because
    they were damaged; they would take the places of good ones.

    Args:
        steps: of all states there are.
        newest: the step just saved.
        keep: how many are left, ``newest`` among them; at least 1.
    """
    ordered = sorted(steps)
    behind = [step for step in ordered if step <= newest]
    return [*behind[: -max(keep, 1)], *(step for step in ordered if step > newest)]


def states(folder: Path) -> list[Path]:
    """Returns the states of a run, oldest first."""
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if _NAME.fullmatch(path.name)]
    return sorted(found, key=step_of)


def step_of(path: Path) -> int:
    """Returns the step that a state's name tells."""
    return int(path.stem.removeprefix("step-"))


def load(path: Path) -> dict[str, Any]:
    """Returns the tree of :func:`save`.

    Raises:
        UserError: the file is damaged or of another version.
    """
    _, metadata = safetensors.read_header(path)
    version = metadata.get("renma_state", "")
    if version != VERSION:
        what = f"is a state of format {version:.9}" if version else "is not a state of a run"
        raise UserError(f"{what}; this version of renma reads format {VERSION}", where=path)
    tensors = {name: tensor.clone() for name, tensor in safetensors.read_tensors(path).items()}
    text, step = metadata.get("tree", ""), metadata.get("step", "")
    if _checksum(text, step, tensors) != metadata.get("sha256"):
        raise UserError("is damaged (its checksum does not fit)", where=path)
    tree = _unpack(json.loads(text), tensors)
    assert isinstance(tree, dict)
    return tree


def _checksum(tree: str, step: str, tensors: Mapping[str, Tensor]) -> str:
    """Returns a hash over everything in the file: names, types, shapes, scalars and numbers."""
    table = [(name, str(t.dtype), tuple(t.shape)) for name, t in sorted(tensors.items())]
    return digest([tree, step, table, safetensors.payload_hash(tensors)])


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
