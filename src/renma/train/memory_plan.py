"""`renma plan memory`: what every algorithm would train and need in this run, rank by rank.

Parameters, weights, gradients, optimizer state and file size are counted; activations and the
runtime are estimates.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from renma.config import Run, costs
from renma.config.adapter import AdapterSection
from renma.config.estimate import ALGORITHMS, Shape, file_bytes, numbers, trained
from renma.config.optimizer import Rates
from renma.config.run_tasks import MemoryOptions
from renma.core.errors import UserError
from renma.core.events import Report
from renma.train.plan import Prepared, prepare, trained_layers
from renma.train.source import Source, load

LIMIT_MIB = 8 * 1024
_COMMON = ("adamw", "adamw8bit", "lion", "adafactor", "prodigy")
"""Optimizers whose state people are told; --json has all."""
_HEAD = ["algorithm", "rank", "trained", "file", "weights", "adapter", "gradients", "state"]
_HEAD += ["activations*", "total*"]


@dataclass(frozen=True)
class Row:
    """One algorithm at one rank; sizes in MiB."""

    algorithm: str
    rank: int | None
    """None where the algorithm has none."""
    parameters: int
    """Trained numbers."""
    file_bytes: int
    """Size of the LoRA file without its header."""
    memory: costs.Memory
    states: dict[str, float]
    """Optimizer state in MiB under each optimizer."""

    def as_dict(self) -> dict[str, Any]:
        """Returns the row for ``--json``."""
        raw = asdict(self)
        memory = {f"{n}_mib": round(v, 2) for n, v in raw.pop("memory").items()}
        states = {n: round(v, 2) for n, v in raw.pop("states").items()}
        total = round(self.memory.total, 2)
        return {**raw, **memory, "total_mib": total, "state_mib_by_optimizer": states}


def run(options: MemoryOptions, report: Report) -> None:
    """Prints the table, or JSON.

    Raises:
        UserError: a mistake in the run, or a rank that is none.
    """
    if any(rank < 1 or rank > 4096 for rank in options.ranks):
        raise UserError("a rank is a number from 1 to 4096", where=f"--ranks {options.ranks}")
    source = load(options.run, options.dataset_config, options.set)
    with source.pointing():
        prepared = prepare(source.run, source.base)
    rows = table(source, prepared, options.ranks)
    if options.as_json:
        facts = {
            "model": source.run.model.path,
            "optimizer": prepared.footing.optimizer.name,
            "precision": source.run.train.precision,
            "estimated": ["activations_mib", "runtime_mib", "total_mib"],
            "rows": [row.as_dict() for row in rows],
        }
        report.line(json.dumps(facts, ensure_ascii=False, indent=2))
        return
    for line in (*_lines(rows), "", *_notes(source, prepared, rows, options)):
        report.line(line)


def table(source: Source, prepared: Prepared, ranks: Iterable[int] = ()) -> list[Row]:
    """Returns a row for every algorithm, and for every rank where it has one.

    Args:
        source: the run; its other options hold for every row.
        prepared: its plan.
        ranks: ranks to compare (default: the run's own).
    """
    own, ranks = source.run.adapter, tuple(ranks)
    compared = ranks or (own.model_dump().get("rank", 4),)
    rows: list[Row] = []
    for name, section in ALGORITHMS.items():
        for rank in compared if "rank" in section.model_fields else (None,):
            adapter = _variant(own, section, rank, keep_blocks=not ranks)
            try:
                rows.append(_row(name, rank, adapter, source, prepared))
            except UserError:
                # a preset file may name options that only the run's own algorithm has
                if not (own.targets.preset_file and name != own.algo):
                    raise
            if "dora" in section.model_fields and name == own.algo:
                with_dora = adapter.model_copy(update={"dora": "output"})
                rows.append(_row(f"{name} + dora", rank, with_dora, source, prepared))
    return rows


def _row(
    name: str, rank: int | None, adapter: AdapterSection, source: Source, prepared: Prepared
) -> Row:
    chosen = trained_layers(source.run, adapter, prepared.footing.table, source.base)
    tensors = [each for slot, layer, _ in chosen for each in trained(slot, layer).items()]
    return Row(
        name,
        rank,
        sum(numbers(slot, layer) for slot, layer, _ in chosen),
        file_bytes(chosen, source.run.output.precision),
        costs.memory(chosen, prepared.footing),
        _states(prepared.footing, tensors),
    )


def _states(stand: costs.Footing, tensors: list[tuple[str, Shape]]) -> dict[str, float]:
    """Returns MiB of state under each optimizer; the run's own with its own options."""
    own: dict[str, Rates] = {stand.optimizer.name: stand.optimizer}
    sections: dict[str, Rates] = {name: make() for name, make in costs.OPTIMIZERS.items()} | own
    return {name: costs.state_bytes(each, tensors) / 2**20 for name, each in sections.items()}


def _variant(
    adapter: AdapterSection, section: type[AdapterSection], rank: int | None, keep_blocks: bool
) -> AdapterSection:
    """Returns the run's adapter as another algorithm or with another rank."""
    given = adapter.model_dump(exclude_unset=True)
    shared = {name: value for name, value in given.items() if name in section.model_fields}
    shared.pop("algo", None)
    blocks = dict(shared.get("blocks", {}))
    sizes = {"ranks", "alphas", "conv_ranks", "conv_alphas"}
    if not keep_blocks or not isinstance(adapter, section):
        blocks = {name: value for name, value in blocks.items() if name not in sizes}
    shared["blocks"] = blocks
    if rank is not None:
        shared["rank"] = rank
        if not keep_blocks:
            shared.pop("conv_rank", None)
            if unit := shared.get("unit"):
                shared["unit"] = unit if rank % unit == 0 else 1
    return section.model_validate(shared)


def _lines(rows: list[Row]) -> list[str]:
    cells: list[Sequence[str]] = [_HEAD]
    for row in rows:
        memory = row.memory
        sizes = (memory.weights, memory.adapter, memory.gradients, memory.state)
        sizes = (*sizes, memory.activations, memory.total)
        rank = "-" if row.rank is None else str(row.rank)
        file = size(row.file_bytes / 2**20)
        cells.append(
            (row.algorithm, rank, f"{row.parameters:,}", file, *(size(mib) for mib in sizes))
        )
    widths = [max(len(line[column]) for line in cells) for column in range(len(_HEAD))]
    return [
        "  ".join(
            text.ljust(width) if column == 0 else text.rjust(width)
            for column, (text, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in cells
    ]


def _notes(
    source: Source, prepared: Prepared, rows: list[Row], options: MemoryOptions
) -> list[str]:
    """Returns what a reader of the table must know."""
    stand, run = prepared.footing, source.run
    checkpointing = "on" if stand.checkpointing else "off"
    own = next(row for row in rows if row.algorithm == run.adapter.algo)
    named = dict.fromkeys((stand.optimizer.name, *_COMMON))
    states = ", ".join(f"{name} {size(own.states[name])}" for name in named)
    notes = [
        f"Optimizer {stand.optimizer.name}, frozen model in {run.train.precision}, adapters fp32,",
        f"gradient checkpointing {checkpointing}, {stand.pixels:,} pixels in the largest batch.",
        f"State of {_name(own)} by optimizer: {states}.",
        "* Estimated from measurements on Stable Diffusion 1.5; all other columns are counted.",
        f"  The total holds {size(own.memory.runtime)} for the program itself.",
    ]
    if options.ranks and run.adapter.blocks.ranked():
        notes.append("Ranks and alphas of single blocks are left out: --ranks decides.")
    return [*notes, _fits(run, prepared, rows)]


def _fits(run: Run, prepared: Prepared, rows: list[Row]) -> str:
    over = [row for row in rows if row.memory.total > LIMIT_MIB]
    if not over:
        return f"Within 8 GB: all of them; the largest needs about {_largest(rows)}."
    named = ", ".join(_name(row) for row in over)
    if len(over) < len(rows):
        return f"Within 8 GB: all but {named}."
    saved = {
        "train.precision = bf16": run.train.precision == "fp32",
        "train.gradient_checkpointing = true": not run.train.gradient_checkpointing,
        "optimizer.name = adamw8bit": prepared.footing.optimizer.name != "adamw8bit",
        "smaller pictures or batches": True,
    }
    ways = ", ".join(way for way, possible in saved.items() if possible)
    return f"Within 8 GB: none of them. What saves memory: {ways}."


def _largest(rows: list[Row]) -> str:
    row = max(rows, key=lambda row: row.memory.total)
    return f"{size(row.memory.total)} ({_name(row)})"


def _name(row: Row) -> str:
    return row.algorithm if row.rank is None else f"{row.algorithm} {row.rank}"


def size(mib: float) -> str:
    """Returns a size for people."""
    if mib >= 1024:
        return f"{mib / 1024:.1f} GiB"
    return f"{mib:.0f} MiB" if mib >= 10 else f"{mib:.2f} MiB"
