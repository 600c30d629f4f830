"""`renma plan layers`: which block holds what, and what of it would be trained (F7, E5)."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass

from renma.config.estimate import numbers
from renma.config.layer_table import Choice, Slot
from renma.config.run_tasks import LayersOptions
from renma.core.events import Report
from renma.formats.model_facts import facts
from renma.train.plan import trained_layers, trained_parts
from renma.train.source import Source, load

_WORDS = {
    "attention": "attention", "feed_forward": "feed-forward", "projection": "projections",
    "resnet": "ResNet", "sampler": "up/downsampling", "ends": "ends", "norm": "norms",
    "other": "others",
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One block, or one layer of it.

    Attributes:
        part: the model's part.
        block: label of block-weight tools.
        index: kohya's block index, None outside the U-Net.
        name: what the block holds, or the layer's path.
        shape: of the layer's weight; empty for a block.
        weights: frozen numbers.
        layers: how many layers there are.
        trained_layers: how many of them are trained.
        trained: trained numbers.
        ranks: smallest and largest rank, None without any.
        rate: factor on the learning rate, 0 where nothing is trained.
    """

    part: str
    block: str
    index: int | None
    name: str
    shape: tuple[int, ...]
    weights: int
    layers: int
    trained_layers: int
    trained: int
    ranks: tuple[int, int] | None
    rate: float


def run(options: LayersOptions, report: Report) -> None:
    """Prints blocks, or layers, as a table or as JSON."""
    source = load(options.run, options.dataset_config, options.set)
    rows = table(source, each=options.each)
    if options.as_json:
        report.line(json.dumps([asdict(row) for row in rows], ensure_ascii=False, indent=2))
        return
    for line in _lines(rows, each=options.each):
        report.line(line)


def table(source: Source, *, each: bool = False) -> list[Row]:
    """Returns a row for every block of the run's model, or for every layer.

    Raises:
        UserError: no model, or options that do not fit it.
    """
    run = source.run
    slots = facts(run.model.place(source.base), run.model, source.base).slots()
    chosen = {c[0].name: c for c in trained_layers(run, run.adapter, slots, source.base)}
    parts = trained_parts(run)
    if each:
        return [_row([slot], chosen, slot.path) for slot in slots]
    groups: dict[tuple[str, str, int | None], list[Slot]] = {}
    for slot in slots:
        groups.setdefault((slot.part, slot.block, slot.index), []).append(slot)
    ordered = sorted(groups.values(), key=lambda g: (g[0].part not in parts, _place(g[0])))
    return [_row(group, chosen, _contents(group)) for group in ordered]


def _place(slot: Slot) -> tuple[str, int]:
    return slot.part, -1 if slot.index is None else slot.index


def _row(slots: list[Slot], chosen: dict[str, Choice], name: str) -> Row:
    found = [chosen[slot.name] for slot in slots if slot.name in chosen]
    ranks = [rank for _, own, _ in found if (rank := getattr(own, "rank", None))]
    return Row(
        slots[0].part,
        slots[0].block,
        slots[0].index,
        name,
        slots[0].shape if len(slots) == 1 else (),
        sum(math.prod(slot.shape) for slot in slots),
        len(slots),
        len(found),
        sum(numbers(slot, own) for slot, own, _ in found),
        (min(ranks), max(ranks)) if ranks else None,
        max((rate for _, _, rate in found), default=0.0),
    )


def _contents(slots: list[Slot]) -> str:
    return ", ".join(dict.fromkeys(_WORDS[slot.group] for slot in slots))


def _lines(rows: list[Row], *, each: bool) -> list[str]:
    head = ["part", "block", "index", "layer" if each else "holds"]
    head += ["shape"] if each else ["layers", "trained"]
    head += ["weights", "trained numbers", "rank", "rate"]
    cells = [head, *(_cells(row, each=each) for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(head))]
    text = []
    for line in cells:
        padded = zip(line, widths, strict=True)
        shown = [c.ljust(w) if i < 4 else c.rjust(w) for i, (c, w) in enumerate(padded)]
        text.append("  ".join(shown).rstrip())
    weights, trained = sum(row.weights for row in rows), sum(row.trained for row in rows)
    return [*text, f"{weights:,} weights, {trained:,} trained numbers"]


def _cells(row: Row, *, each: bool) -> list[str]:
    shown = "-".join(dict.fromkeys(map(str, row.ranks or ())))
    size = ["x".join(map(str, row.shape))] if each else [str(row.layers), str(row.trained_layers)]
    index = "" if row.index is None else str(row.index)
    rate = f"{row.rate:g}" if row.trained_layers else ""
    trained = f"{row.trained:,}" if row.trained else ""
    where = [row.part, row.block, index, row.name]
    return [*where, *size, f"{row.weights:,}", trained, shown, rate]
