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


def test_every_single_bit_counts(tmp_path: Path):
    """One bit of each byte, turned in turn; whatever it hits, the state is not taken for whole."""
    path = state.save(tmp_path, 7, TREE)
    data = path.read_bytes()
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= 1 << place % 8
        path.write_bytes(changed)
        with pytest.raises(UserError, match=path.name):
            state.load(path)


@pytest.mark.parametrize("share", [0, 0.25, 0.5, 0.99])
def test_a_part_is_not_the_whole(tmp_path: Path, share: float):
    path = state.save(tmp_path, 7, TREE)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(UserError, match=path.name):
        state.load(path)


def test_a_state_of_another_version_says_so(tmp_path: Path):
    path = state.save(tmp_path, 7, TREE)
    path.write_bytes(path.read_bytes().replace(b'"renma_state":"2"', b'"renma_state":"7"'))
    with pytest.raises(UserError, match=r"format 7; this version of renma reads format 2"):
        state.load(path)


def test_states_of_an_abandoned_future_make_room(tmp_path: Path):
    """A run that went back from damaged states does not keep them in the place of good ones."""
    for step in (4, 6, 8):
        state.save(tmp_path, step, TREE, keep=3)
    state.save(tmp_path, 5, TREE)
    assert [state.step_of(path) for path in state.states(tmp_path)] == [4, 5]


def test_states_are_in_the_order_of_their_steps(tmp_path: Path):
    for name in ("step-99999999", "step-100000000", "step-00000002", "step-x", "notes"):
        (tmp_path / f"{name}.safetensors").touch()
    steps = [state.step_of(path) for path in state.states(tmp_path)]
    assert steps == [2, 99_999_999, 100_000_000]


def test_a_loaded_state_does_not_hang_on_its_file(tmp_path: Path):
    path = state.save(tmp_path, 7, TREE)
    loaded = state.load(path)
    path.write_bytes(b"\0" * path.stat().st_size)
    assert same(TREE, loaded)


def test_a_copy_on_the_cpu_does_not_follow_the_weights():
    tree = {"a": [torch.ones(2)]}
    copied = state.to_cpu(tree)
    tree["a"][0].zero_()
    assert copied["a"][0].tolist() == [1, 1]
