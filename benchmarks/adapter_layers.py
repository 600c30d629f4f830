"""FLOPs, kept bytes and time of one adapted linear layer: renma beside PEFT and LyCORIS.

    python benchmarks/adapter_layers.py [--quick] [--algo NAME ...] [--no-time] [--out FILE]

One frozen ``nn.Linear`` (with bias), input (1, tokens, width) that needs a gradient as inside a
U-Net, forward and backward. ``frozen`` is the layer alone: forward and gradient to the input.

FLOPs: matrix products as ``FlopCounterMode`` sees them, relative to ``frozen``; elementwise work is
not in it. Autograd Functions written by hand are counted, for the counter sees what they call.

Kept bytes: every storage that autograd holds for the backward pass, each once, as
``saved_tensors_hooks`` sees it (hand-written Functions save through the same hooks), without
parameters, buffers and the frozen layer. Copies of parameters in another precision do count. The
layer's input is told apart (``keeps_x``): others may need it anyway.

Time: process seconds of forward and backward, median over rounds in which everyone runs once, so
that a busy machine hits all alike; only for widths and token counts that SD 1.5 and SDXL have.

bf16: layer and input in bf16, adapters in fp32. Peers run their forward under autocast, as training
loops run them; renma casts by itself. LyCORIS is measured in both of its modes: by default it
builds the change of the weight (``lycoris``), ``bypass_mode`` runs the factors beside the layer.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

WIDTHS, TOKENS, RANKS = (320, 640, 1280), (4096, 1024, 256), (4, 32, 128)
REAL = ((320, 4096), (640, 4096), (640, 1024), (1280, 1024), (1280, 256))
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
ALGOS = ("lora", "lora_fa", "dora", "loha", "lokr", "lokr_full", "ia3")
RANKLESS = ("lokr_full", "ia3")
PEERS = ("peft", "lycoris", "lycoris_bypass")
FACTOR = 8  # LoKr's
LIMITS = {"lora": 1.08, "dora": 1.08, "loha": 1.55, "lokr": 1.21, "lokr_full": 1.21}
AT = (640, 1024, 16)  # width, tokens, rank of the limits
NOISE = 1.05  # times closer than this are equal


@dataclass(frozen=True)
class Cell:
    """What is measured."""

    algo: str
    width: int
    tokens: int
    rank: int
    precision: str
    outputs: int | None = None
    """Rows of the weight, if not ``width``."""

    def __str__(self) -> str:
        rank = "" if self.algo in RANKLESS else f" r={self.rank}"
        return f"{self.algo} d={self.width} N={self.tokens}{rank} {self.precision}"


@dataclass(frozen=True)
class Subject:
    """One implementation on one layer.

    Attributes:
        run: input (1, tokens, width) to output.
        modules: what it consists of, the frozen layer too.
    """

    run: Callable[[Tensor], Tensor]
    modules: tuple[nn.Module, ...]

    @property
    def own(self) -> list[Tensor]:
        """Parameters and buffers."""
        return [t for m in self.modules for t in (*m.parameters(), *m.buffers())]

    @property
    def trained(self) -> list[Tensor]:
        """Tensors that get gradients."""
        return [tensor for tensor in self.own if tensor.requires_grad]

    def to_fake(self, mode: FakeTensorMode) -> None:
        """Leaves only shapes of all tensors; building peers in that mode fails."""
        done: dict[int, nn.Parameter] = {}
        for part in {part for module in self.modules for part in module.modules()}:
            for name, tensor in part._parameters.items():
                if tensor is not None and id(tensor) not in done:
                    fake = mode.from_tensor(tensor.detach())
                    done[id(tensor)] = nn.Parameter(fake, requires_grad=tensor.requires_grad)
                part._parameters[name] = None if tensor is None else done[id(tensor)]
            for name, tensor in part._buffers.items():
                part._buffers[name] = None if tensor is None else mode.from_tensor(tensor)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="few cells, few rounds")
    parser.add_argument("--algo", choices=ALGOS, nargs="+", default=ALGOS)
    parser.add_argument("--no-time", action="store_true", help="only what does not vary")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for cell in cells(arguments.algo, arguments.quick):
        row: dict[str, Any] = {**asdict(cell), "subjects": counts(cell)}
        timed = arguments.quick or (cell.width, cell.tokens) in REAL
        if timed and cell.rank != AT[2] and not arguments.no_time:
            for name, ratio in times(cell, 3 if arguments.quick else arguments.rounds).items():
                row["subjects"][name]["time"] = ratio
        rows.append(row)
    result = {"limits": limits(rows), "above": above(rows), "cells": rows}
    show(result)
    if arguments.out:
        lines = (f'"{k}": [\n' + ",\n".join(map(json.dumps, v)) + "\n]" for k, v in result.items())
        arguments.out.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def cells(algos: tuple[str, ...] | list[str], quick: bool) -> Iterator[Cell]:
    """Yields everything to measure; rank 16 only where the limits stand."""
    shapes = [AT[:2]] if quick else [(width, tokens) for width in WIDTHS for tokens in TOKENS]
    for precision in DTYPES:
        for algo in algos:
            for width, tokens in shapes:
                ranks = RANKS[1:2] if quick else RANKS
                if (width, tokens) == AT[:2]:
                    ranks = (*ranks, AT[2])
                for rank in RANKS[:1] if algo in RANKLESS else ranks:
                    yield Cell(algo, width, tokens, rank, precision)


def counts(cell: Cell) -> dict[str, dict[str, Any]]:
    """Counts FLOPs and kept bytes of every subject; nothing is computed."""
    found = {name: count(cell, name) for name in ("frozen", *subjects(cell))}
    alone = found.pop("frozen")["flops"]
    return {
        name: {
            "flops": round(one["flops"] / alone, 4),
            "kept": one["kept"],
            "keeps_x": one["keeps_x"],
        }
        for name, one in found.items()
    }


def subjects(cell: Cell) -> tuple[str, ...]:
    """Returns who has the algorithm; LyCORIS leaves DoRA out where it bypasses the weight."""
    return ("renma", *(peer for peer in PEERS if (cell.algo, peer) != ("dora", "lycoris_bypass")))


def count(cell: Cell, name: str, fake: bool = True) -> dict[str, int]:
    """Returns FLOPs, bytes kept beside the input, and bytes of the input if it is kept."""
    subject, mode = build(cell, name), FakeTensorMode()
    if fake:
        subject.to_fake(mode)
    with mode if fake else nullcontext():
        x, grad = inputs(cell)
        own = {storage(tensor) for tensor in subject.own}
        kept: dict[int, tuple[int, Tensor]] = {}

        def pack(tensor: Tensor) -> Tensor:
            kept[storage(tensor)] = (tensor.untyped_storage().nbytes(), tensor)
            return tensor

        with FlopCounterMode(display=False) as counter:
            with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
                y = subject.run(x)
            y.backward(grad)
        for tensor in (x, *subject.trained):
            if tensor.grad is None:
                raise RuntimeError(f"{name} of {cell}: {tuple(tensor.shape)} got no gradient")
        return {
            "flops": counter.get_total_flops(),
            "kept": sum(size for key, (size, _) in kept.items() if key not in {*own, storage(x)}),
            "keeps_x": kept[storage(x)][0] if storage(x) in kept else 0,
        }


def storage(tensor: Tensor) -> int:
    """Returns what is the same for all views of the same memory."""
    return tensor.untyped_storage()._cdata


def times(cell: Cell, rounds: int) -> dict[str, float]:
    """Returns the time of every subject relative to the frozen layer."""
    x, grad = inputs(cell)
    entrants = {name: build(cell, name) for name in ("frozen", *subjects(cell))}
    spent: dict[str, list[float]] = {name: [] for name in entrants}
    for turn in range(rounds + 1):  # the first one warms up
        for name, subject in entrants.items():
            x.grad = None
            for tensor in subject.trained:
                tensor.grad = None
            before = time.process_time()
            subject.run(x).backward(grad)
            if turn:
                spent[name].append(time.process_time() - before)
    alone = statistics.median(spent.pop("frozen"))
    return {name: round(statistics.median(each) / alone, 3) for name, each in spent.items()}


def inputs(cell: Cell) -> tuple[Tensor, Tensor]:
    """Returns the input and the gradient of the output."""
    dtype, outputs = DTYPES[cell.precision], cell.outputs or cell.width
    x = torch.randn(1, cell.tokens, cell.width, dtype=dtype, requires_grad=True)
    return x, torch.randn(1, cell.tokens, outputs, dtype=dtype)


def build(cell: Cell, name: str) -> Subject:
    """Returns one implementation on a layer of its own."""
    outputs = cell.outputs or cell.width
    layer = nn.Linear(cell.width, outputs, dtype=DTYPES[cell.precision])
    layer.requires_grad_(False)
    if name == "frozen":
        return Subject(layer.forward, (layer,))
    if name == "renma":
        return renma(cell, layer)
    module = peft(cell, layer) if name == "peft" else lycoris(cell, layer, name)
    half = DTYPES[cell.precision] if cell.precision != "fp32" else None

    def run(x: Tensor) -> Tensor:
        with torch.autocast("cpu", half, enabled=half is not None):
            return module(x)

    return Subject(run, (layer, module))


def renma(cell: Cell, layer: nn.Linear) -> Subject:
    """What training runs, see renma.engine.attach."""
    from renma import adapters
    from renma.adapters._base import LayerSpec
    from renma.config import adapter as config

    rank = {"rank": cell.rank, "alpha": float(cell.rank)}
    options = {
        "lora": lambda: config.Lora(**rank),
        "lora_fa": lambda: config.LoraFA(**rank),
        "dora": lambda: config.Lora(**rank, dora="output"),
        "loha": lambda: config.LoHa(**rank),
        "lokr": lambda: config.LoKr(**rank, factor=FACTOR),
        "lokr_full": lambda: config.LoKr(**rank, factor=FACTOR, full_matrix=True),
        "ia3": config.IA3,
    }[cell.algo]()
    adapter = adapters.build(LayerSpec.of(layer), options, torch.Generator().manual_seed(0))
    adapter.start(layer.weight)
    return Subject(lambda x: adapter.run(x, layer.forward, layer), (layer, adapter))


def peft(cell: Cell, layer: nn.Linear) -> nn.Module:
    """PEFT's layer; LoRA-FA is its LoRA with A frozen, as kohya-style trainers do it."""
    from peft import IA3Config, LoHaConfig, LoKrConfig, LoraConfig, get_peft_model

    target: dict[str, Any] = {"target_modules": ["0"]}
    rank = {"r": cell.rank, **target}
    whole = {"r": cell.width, "alpha": cell.width, **target}  # too high a rank: w2 is not split
    config = {
        "lora": lambda: LoraConfig(**rank, lora_alpha=cell.rank),
        "lora_fa": lambda: LoraConfig(**rank, lora_alpha=cell.rank),
        "dora": lambda: LoraConfig(**rank, lora_alpha=cell.rank, use_dora=True),
        "loha": lambda: LoHaConfig(**rank, alpha=cell.rank),
        "lokr": lambda: LoKrConfig(**rank, alpha=cell.rank, decompose_factor=FACTOR),
        "lokr_full": lambda: LoKrConfig(**whole, decompose_factor=FACTOR),
        "ia3": lambda: IA3Config(**target, feedforward_modules=[]),
    }[cell.algo]()
    made: Any = get_peft_model(nn.Sequential(layer), config).base_model.model[0]
    if cell.algo == "lora_fa":
        made.lora_A.requires_grad_(False)
    return made.eval()  # the same work: only the coin toss of its module dropout is left out


def lycoris(cell: Cell, layer: nn.Linear, name: str) -> nn.Module:
    """LyCORIS' module, in its default mode or the one that bypasses the weight."""
    from lycoris.modules.ia3 import IA3Module
    from lycoris.modules.locon import LoConModule
    from lycoris.modules.loha import LohaModule
    from lycoris.modules.lokr import LokrModule

    kinds = {"loha": LohaModule, "lokr": LokrModule, "lokr_full": LokrModule, "ia3": IA3Module}
    options: dict[str, Any] = {"lora_dim": cell.rank, "alpha": cell.rank, "factor": FACTOR}
    options |= {"weight_decompose": cell.algo == "dora", "full_matrix": cell.algo == "lokr_full"}
    bypass = name == "lycoris_bypass" or None  # None is its default
    made = kinds.get(cell.algo, LoConModule)("", layer, bypass_mode=bypass, **options)
    if cell.algo == "lora_fa":
        made.lora_down.requires_grad_(False)
    return made


def limits(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns renma's FLOPs where limits stand, beside the limit."""
    found = []
    for row in rows:
        here = (row["width"], row["tokens"], row["rank"])
        rankless = row["algo"] in RANKLESS and here[:2] == AT[:2]
        if row["algo"] in LIMITS and (here == AT or rankless):
            flops, limit = row["subjects"]["renma"]["flops"], LIMITS[row["algo"]]
            kept = flops <= limit
            cell = f"{row['algo']} {row['precision']}"
            found.append({"cell": cell, "flops": flops, "limit": limit, "kept": kept})
    return found


def above(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns every place where renma needs more than a peer.

    ``instead`` names what it needs less of than the same peer there.
    """
    found = []
    for row in rows:
        cell = Cell(**{name: value for name, value in row.items() if name != "subjects"})
        ours = measures(row["subjects"]["renma"])
        for peer in subjects(cell)[1:]:
            theirs = measures(row["subjects"][peer])
            less = [name for name in ours if ours[name] * margin(name) < theirs[name]]
            for name in ours:
                if ours[name] > theirs[name] * margin(name):
                    entry = {"cell": str(cell), "what": name, "peer": peer}
                    found.append(
                        {**entry, "renma": ours[name], "theirs": theirs[name], "instead": less}
                    )
    return found


def measures(one: dict[str, Any]) -> dict[str, float]:
    """Returns FLOPs, all kept bytes (the input included), and the time where it was measured."""
    found = {"flops": one["flops"], "bytes": one["kept"] + one["keeps_x"]}
    return found | ({"time": one["time"]} if "time" in one else {})


def margin(name: str) -> float:
    """Returns how many times larger still counts as equal."""
    return NOISE if name == "time" else 1.0


def show(result: dict[str, list[dict[str, Any]]]) -> None:
    """Prints the cells of the limits' shape, the limits, and where renma needs more."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 150)
    table = Table("cell", "renma", *PEERS, title="FLOPs  KiB kept beside x (+x)  time")
    for row in result["cells"]:
        if (row["width"], row["tokens"]) == AT[:2]:
            cell = Cell(**{name: value for name, value in row.items() if name != "subjects"})
            told = [figures(row["subjects"].get(name)) for name in ("renma", *PEERS)]
            table.add_row(str(cell), *told)
    console.print(table)
    table = Table("limit", "FLOPs", "at most", "kept")
    for limit in result["limits"]:
        table.add_row(*(str(value) for value in limit.values()))
    console.print(table)
    console.print(peers_below(result["cells"], result["above"]))


def peers_below(rows: list[dict[str, Any]], found: list[dict[str, Any]]) -> Any:
    """Returns :func:`above` in short: the same comparison of several cells in one line."""
    from rich.table import Table

    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for entry in found:
        algo, *_, precision = entry["cell"].split()
        groups.setdefault((algo, precision, entry["what"], entry["peer"]), []).append(entry)
    table = Table("algo", "", "what", "peer", "cells", "ratio", "worst", "less of, in all of them")
    table.title = "where renma needs more than a peer (every cell: --out)"
    for key, entries in groups.items():
        cells = sum((row["algo"], row["precision"]) == key[:2] for row in rows)
        entries.sort(key=lambda entry: entry["renma"] / (entry["theirs"] or 1))
        low, high = (entries[i]["renma"] / (entries[i]["theirs"] or 1) for i in (0, -1))
        less = set.intersection(*(set(entry["instead"]) for entry in entries))
        worst = " ".join(entries[-1]["cell"].split()[1:-1])
        part = f"{len(entries)} of {cells}"
        table.add_row(*key, part, f"{low:.3f}-{high:.3f}", worst, " ".join(sorted(less)))
    return table


def figures(one: dict[str, Any] | None) -> str:
    """Returns one subject's numbers in short."""
    if one is None:
        return ""
    x = " +x" if one["keeps_x"] else ""
    seconds = f"  {one['time']:.2f}" if "time" in one else ""
    return f"{one['flops']:.3f}  {one['kept'] / 1024:.0f}{x}{seconds}"


if __name__ == "__main__":
    main()
