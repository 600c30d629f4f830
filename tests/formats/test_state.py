"""Run states: exact, whole or absent, damage noticed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from renma.core.errors import UserError
from renma.formats import state

TREE = {
    "network": {"a": {"down": torch.randn(3, 2), "up": torch.zeros(0)}},
    "optimizer": {"state": {0: {"step": torch.tensor(3.0), "d": 1e-6}, 1: {}}, "param_groups": [{"lr": 0.1, "params": [0, 1], "x": None, "b": (0.9, 0.99)}]},
    "counters": {"step": 7, "ok": True, "name": "x"},
}  # fmt: skip


def same(a, b) -> bool:
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b) and a.dtype == b.dtype
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return a == b


def test_tree_comes_back_exactly(tmp_path: Path):
    assert same(TREE, state.load(state.save(tmp_path, 7, TREE)))


def test_only_the_newest_two_are_kept(tmp_path: Path):
    for step in (1, 2, 10, 11):
        state.save(tmp_path, step, TREE)
    assert [p.name for p in state.states(tmp_path)] == [
        "step-00000010.safetensors",
        "step-00000011.safetensors",
    ]


@pytest.mark.parametrize("damage", ["flip", "counter", "cut", "empty", "foreign"])
def test_damage_is_noticed(tmp_path: Path, damage: str):
    path = state.save(tmp_path, 7, TREE)
    data = bytearray(path.read_bytes())
    if damage == "flip":
        data[-5] ^= 1
    counted = bytes(data).replace(b'\\"step\\", 7', b'\\"step\\", 9')
    assert counted != bytes(data)
    changed = {"flip": bytes(data), "counter": counted, "cut": bytes(data[:-9]), "empty": b""}
    path.write_bytes({**changed, "foreign": b"x" * 99}[damage])
    with pytest.raises(UserError, match=path.name):
        state.load(path)
