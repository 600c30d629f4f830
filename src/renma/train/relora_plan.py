"""What ReLoRA will do: its cycles, and how large the file of all of them is. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from renma.config import Run
from renma.config.adapter import _Ranked
from renma.config.layer_table import Choice, Slot
from renma.core.counted import counted

_SHOWN = 6
"""Merges that are listed."""


def cycles(run: Run, steps: int) -> int:
    """Returns the number of cycles of a run; 1 without ReLoRA."""
    return len(run.relora.merges(steps)) + 1


def file_rank(slot: Slot, rank: int, run: Run, steps: int) -> int:
    """Returns the rank of one layer in the finished file.

    Args:
        slot: the layer.
        rank: what is trained at a time.
        run: the run.
        steps: its optimizer steps.
    """
    count = cycles(run, steps)
    if count == 1:
        return rank
    most = min(slot.outputs, slot.columns)
    return min(rank * count, run.relora.file_rank or most, most)


def enlarged(chosen: Iterable[Choice], run: Run, steps: int) -> list[Choice]:
    """Returns the layers with the options that the finished file has them with."""
    if cycles(run, steps) == 1:
        return list(chosen)
    return [(slot, _summed(slot, own, run, steps), rate) for slot, own, rate in chosen]


def past_bytes(chosen: Iterable[Choice], run: Run, steps: int) -> int:
    """Returns what the merged cycles take in a state, and in memory, at the end of the run.

    Args:
        chosen: the trained layers.
        run: the run.
        steps: its optimizer steps.
    """
    before = cycles(run, steps) - 1
    numbers = 0
    for slot, own, _ in chosen:  # no sum has more ranks than its layer has rows or columns
        rank = min(before * getattr(own, "rank", 0), slot.outputs, slot.columns)
        numbers += (slot.outputs + slot.columns) * rank
    return 4 * numbers


def memory_bytes(chosen: Sequence[Choice], run: Run, steps: int, *, gpu: bool) -> int:
    """Returns what the cycles take where the model computes: the past, and the original weights.

    On a GPU both lie in main memory, but for a past that acts beside the weights.

    Args:
        chosen: the trained layers.
        run: the run.
        steps: its optimizer steps.
        gpu: whether it computes on one.
    """
    if cycles(run, steps) == 1:
        return 0
    few = run.model.quantize != "none" or run.train.precision != "fp32"
    beside = run.relora.where == "beside" or (run.relora.where == "auto" and few)
    if gpu and not beside:
        return 0
    weights = sum(slot.outputs * slot.columns for slot, _, _ in chosen)
    held = 0 if beside else weights * (2 if few else 4)
    return past_bytes(chosen, run, steps) + held


def _summed(slot: Slot, own: Any, run: Run, steps: int) -> Any:
    if not isinstance(own, _Ranked):
        return own
    rank = file_rank(slot, own.rank, run, steps)
    plain = {"rank": rank, "alpha": float(rank), "rank_stabilized": False}
    core = {"tucker": False} if "tucker" in type(own).model_fields else {}
    return own.model_copy(update=plain | core)


def method_rows(run: Run, steps: int) -> tuple[tuple[str, str], ...]:
    """Returns what `renma check` says of the cycles, as names and texts."""
    config, merges = run.relora, run.relora.merges(steps)
    if not merges:
        return ()
    listed = ", ".join(map(str, merges[:_SHOWN])) + (" ..." if len(merges) > _SHOWN else "")
    lower = f", each at {config.rate_factor:g} of the rate" if config.rate_factor < 1 else ""
    told = f"{cycles(run, steps)} of {config.every_steps} steps{lower}; merged after step {listed}"
    if rest := steps % config.every_steps:
        told += f"; the last has {counted(rest, 'step')}"
    rows = [("cycles", told)]
    rank = getattr(run.adapter, "rank", 0)
    if rank and not run.start.ranks_from_file:
        most = rank * cycles(run, steps)
        text = f"up to rank {most}: all cycles side by side, {rank} trained at a time"
        if 0 < config.file_rank < most:
            text = f"rank {config.file_rank}, the best approximation of all cycles' {most}"
        rows.append(("their sum", text))
    if config.merged:
        rows.append(("merged", f"the base model with that file in it, as merged/{run.output.name}"))
    return tuple(rows)
