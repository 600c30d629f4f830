"""DyLoRA's rank table: the held-out loss of every file that can be cut from a finished run.

One training makes many LoRAs (arXiv 2210.07558); which of them is enough, the pictures that were
held out tell. Each rank is measured with the window of training, which scales by alpha / rank as
a cut file does.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from renma.adapters.dylora import Adapter as DyLoraAdapter
from renma.config.adapter import DyLora
from renma.core.events import Report, read_events

if TYPE_CHECKING:
    from renma.engine.network import Network
    from renma.train.session import Session

MOST = 16
"""Ranks that are measured at most; of more, as many small ones as large ones on a ratio scale."""
NEAR = 0.02
"""A rank is good enough whose loss is at most this share above the lowest."""
_PLAIN = frozenset({"lora_down.weight", "lora_up.weight", "alpha"})
_BYTES = {"fp32": 4, "fp16": 2, "bf16": 2}


@dataclass(frozen=True)
class Row:
    """One rank.

    Attributes:
        rank: of every layer; of the whole file the highest.
        loss: on the held-out pictures; None where it is no number.
        file_bytes: of the LoRA file.
    """

    rank: int
    loss: float | None
    file_bytes: int


def tell(session: Session, report: Report) -> None:
    """Measures and tells the table of a run that has come to its end, if it is one of DyLoRA's.

    What the run's events tell already of this step is not measured again.

    Args:
        session: the run, trained and saved.
        report: told the event ``ranks`` and the table.
    """
    trainer, validation = session.trainer, session.validation
    config = trainer.run.adapter
    if not isinstance(config, DyLora) or not trainer.processes.main or _told(session):
        return
    if why := _uncuttable(session):
        report.line(f"no rank table: {why}")
        return
    if validation is None:
        report.line(
            "no rank table: with pictures held out, such as data.validation_split = 0.1, the end "
            "of a DyLoRA run tells the loss of every rank that can be cut"
        )
        return
    file = session.folder.lora / f"{trainer.run.output.name}.safetensors"
    whole, can = file.stat().st_size, cuttable(trainer.network, config.unit)
    report.line(f"measuring the held-out loss of {len(can)} ranks")
    found = []
    with trainer.evaluating():
        for i, rank in enumerate(can):
            with at_rank(trainer.network, rank):
                loss = validation.loss(trainer)
            saved = _numbers_beyond(trainer.network, rank) * _BYTES[trainer.run.output.precision]
            found.append(Row(rank, loss if math.isfinite(loss) else None, whole - saved))
            report.event("working", done=i + 1, total=len(can), what="ranks")
    best = enough(found)
    report.event(
        "ranks",
        step=trainer.counters.step,
        rows=[asdict(row) for row in found],
        enough=best and best.rank,
        path=f"lora/{file.name}",
    )
    for line in lines(found, file):
        report.line(line)


def cuttable(network: Network, unit: int, most: int = MOST) -> list[int]:
    """Returns ranks that a file can be cut to, rising; the last is that of the whole file.

    Layers may have ranks of their own; a cut takes the same from each, so the smallest of them is
    the most that can be cut.

    Args:
        network: the adapters.
        unit: ranks come in groups of this size.
        most: how many are returned at most, at least 2.
    """
    ranks = [adapter.rank for adapter in _adapters(network)]
    groups = min(ranks) // unit
    chosen: Sequence[int] = range(1, groups + 1)
    if groups > most:  # on a ratio scale: 3 tells as much beside 2 as 96 beside 64
        chosen = sorted({round(groups ** (i / (most - 1))) for i in range(most)})
    found = [unit * count for count in chosen]
    return found if found and found[-1] == max(ranks) else [*found, max(ranks)][-most:]


@contextmanager
def at_rank(network: Network, rank: int) -> Iterator[None]:
    """Lets the first ranks alone act inside of a ``with`` block, as a file cut to them does.

    Args:
        network: the adapters.
        rank: a multiple of their unit; layers that have fewer act as they are.
    """
    try:
        for adapter in _adapters(network):
            adapter.window = (0, rank) if rank < adapter.rank else None
        yield
    finally:
        for adapter in _adapters(network):
            adapter.window = None


def enough(rows: Sequence[Row]) -> Row | None:
    """Returns the smallest rank within :data:`NEAR` of the lowest loss, None if none is known."""
    known = [(row.loss, row) for row in rows if row.loss is not None]
    if not known:
        return None
    lowest = min(loss for loss, _ in known)
    return next(row for loss, row in known if loss <= lowest * (1 + NEAR))


def lines(rows: Sequence[Row], file: Path) -> list[str]:
    """Returns the table and the command for people.

    Args:
        rows: by rising rank.
        file: the whole LoRA.
    """
    best, lowest = enough(rows), min((r.loss for r in rows if r.loss is not None), default=0.0)
    found = ["rank  held-out loss  above best      file"]
    for row in rows:
        told = ("not a number", "")
        if row.loss is not None:
            told = (f"{row.loss:.5f}", f"{100 * (row.loss / lowest - 1):.1f} %" if lowest else "")
        mark = f"  the smallest within {100 * NEAR:.0f} % of the best" if row is best else ""
        found.append(
            f"{row.rank:>4}  {told[0]:>13}  {told[1]:>10}  {row.file_bytes / 1000:>6.0f} kB{mark}"
        )
    if best is None:
        return [*found, "no rank has a loss that is a number: the training went wrong"]
    if best is rows[-1]:
        return [*found, f"the whole file is needed: {file}"]
    return [*found, f"to cut it out: {command(str(file), best.rank)}"]


def command(file: str, rank: int) -> str:
    """Returns the command line that cuts a file."""
    out = f"{file.removesuffix('.safetensors')}-rank{rank}.safetensors"
    return f"renma file cut {shlex.quote(file)} {shlex.quote(out)} --rank {rank}"


def _adapters(network: Network) -> list[DyLoraAdapter]:
    found: list[Any] = [member.adapter for member in network.members.values()]
    return [adapter for adapter in found if isinstance(adapter, DyLoraAdapter)]


def _told(session: Session) -> bool:
    """Says whether the table of the step that the run stands at was told before."""
    events, step = session.folder.events, session.trainer.counters.step
    rows = read_events(events) if events.is_file() else ()
    return any(row.get("kind") == "ranks" and row.get("step") == step for row in rows)


def _uncuttable(session: Session) -> str:
    """Returns why the run's file has no ranks to cut; empty where `renma file cut` takes it."""
    if session.trainer.run.relora.every_steps:
        return "the file holds what all cycles learnt, whose ranks are in no order"
    for name, member in session.trainer.network.members.items():
        if others := set(member.adapter.tensors()) - _PLAIN:
            return f"'{name}' holds {', '.join(sorted(others))}, so the file cannot be cut"
    return ""


def _numbers_beyond(network: Network, rank: int) -> int:
    """Returns how many numbers a file cut to ``rank`` lacks."""
    return sum(
        max(0, adapter.rank - rank) * (adapter.spec.columns + adapter.spec.outputs)
        for adapter in _adapters(network)
    )
