"""Merging into and extracting from a model of any size takes the memory of one layer."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from renma.config.file_tasks import ExtractOptions, MergeOptions
from renma.formats import checkpoint
from renma.formats.lora_file import LoraFile
from renma.use import extract, merge_model, model_stream


class Lines:
    """A report that keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.events: list[tuple[str, dict[str, Any]]] = []

    def line(self, text: str) -> None:
        self.lines.append(text)

    def event(self, kind: str, **data: Any) -> None:
        self.events.append((kind, data))


class Tracker(TorchDispatchMode):
    """Counts the bytes of all tensors that are alive at once, those read from files included.

    Args:
        known: the LoRA's own tensors, which are there all the time.
    """

    def __init__(self, known: list[Tensor]) -> None:
        super().__init__()
        self.known = {tensor.untyped_storage()._cdata for tensor in known}
        self.live: dict[int, tuple[StorageWeakRef, int]] = {}
        self.most = 0

    def see(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        self.live = {k: row for k, row in self.live.items() if not row[0].expired()}
        if storage._cdata not in self.known:
            self.live[storage._cdata] = (StorageWeakRef(storage), storage.nbytes())
        self.most = max(self.most, sum(size for _, size in self.live.values()))
        return tensor

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self.see(leaf)
        return result

    @contextmanager
    def reading(self, source: Any):
        """Opens a file whose tensors are counted."""
        with safe_open(source.path, "pt") as file:
            get: Callable[[str], Tensor] = file.get_tensor

            class Seen:
                get_tensor = staticmethod(lambda name: self.see(get(name)))

            yield Seen


def test_memory_is_that_of_one_layer(tmp_path: Path, monkeypatch):
    """Forty matrices, biases first in the file: none waits in memory for another."""
    torch.manual_seed(5)
    size, count = 128, 40
    keys = [f"input_blocks.{n}.1.transformer_blocks.0.attn1.to_q" for n in range(1, count + 1)]
    tensors = {"model.diffusion_model.input_blocks.0.0.weight": torch.zeros(8, 4, 3, 3)}
    tensors["model.diffusion_model.input_blocks.1.1.proj_in.weight"] = torch.zeros(8, 8, 1, 1)
    for key in keys:
        tensors[f"model.diffusion_model.{key}.bias"] = torch.randn(size)
    for key in keys:
        tensors[f"model.diffusion_model.{key}.weight"] = torch.randn(size, size)
    base, out = tmp_path / "base.safetensors", tmp_path / "new.safetensors"
    in_order(base, tensors)
    found = checkpoint.read(base)
    names = [p.key for p in found.places if p.tensor.endswith("to_q.weight")]
    assert len(set(names)) == count
    layers = {
        name: {
            "diff": torch.randn(size, 1) @ torch.randn(1, size),
            "diff_b": torch.randn(size),
        }
        for name in names
    }
    layer = 4 * size * size
    entries = [(Path("l.safetensors"), 1.0, LoraFile(layers))]
    words = {"files": ("l.safetensors",), "out": out, "base": str(base)}
    report = Lines()
    for run in (
        lambda: merge_model.run(MergeOptions(**words), entries, report),
        lambda: extract.run(
            ExtractOptions(base=base, tuned=out, out=tmp_path / "o.safetensors", rank=1), report
        ),
    ):
        tracker = Tracker([t for row in layers.values() for t in row.values()])
        for module in (model_stream, extract):
            monkeypatch.setattr(module, "reading", tracker.reading)
        with tracker:
            run()
        assert layer < tracker.most < 6 * layer
    new = load_file(out)
    for key, name in zip(keys, names, strict=True):
        row, full = layers[name], f"model.diffusion_model.{key}"
        for kind, change in (("weight", row["diff"]), ("bias", row["diff_b"])):
            expected = tensors[f"{full}.{kind}"] + change
            assert torch.allclose(new[f"{full}.{kind}"], expected, atol=1e-6)
    told = [data for kind, data in report.events if kind == "working"]
    merged = [data["done"] for data in told if data["total"] == count]
    assert merged == list(range(1, count + 1)), "each layer once, worked out twice or not"
    extracted = [data["done"] for data in told if data["total"] == count + 1]
    assert extracted == list(range(1, count + 2)), "and proj_in"


def in_order(path: Path, tensors: dict[str, Tensor]) -> None:
    """Writes a file whose numbers lie in the order given; the library sorts them."""
    rows, data = {}, b""
    for name, tensor in tensors.items():
        more = tensor.numpy().tobytes()
        place = [len(data), len(data) + len(more)]
        rows[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": place}
        data += more
    header = json.dumps(rows).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + data)
