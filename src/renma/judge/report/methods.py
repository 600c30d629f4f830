"""What a run did besides plain training: settings, and what its events tell (no torch).

A method is a section of run.toml; its events come from a file that may be anybody's, so every
number is looked at before it is shown.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from renma.config.adapter import DyLora
from renma.config.erase import ErasePrompt
from renma.config.erase_prompts import prompts
from renma.core.counted import counted
from renma.core.errors import UserError
from renma.formats.safetensors import read_header
from renma.judge.folder import Event, RunRecord
from renma.judge.inline import Picture, from_file
from renma.judge.numbers import is_number, is_step
from renma.judge.report import facts
from renma.judge.report.chart import Chart, Curve, chart, number

MOST_ROWS = 40
"""Rows of one table."""
_STORAGE = {
    "fp8": "8-bit floating point (e4m3), a scale for each output",
    "int8": "8-bit codes, a scale for every 256 numbers",
    "nf4": "4-bit codes placed as a normal distribution lies (NF4), a scale for every 64 numbers",
    "fp4": "4-bit floating point, a scale for every 64 numbers",
}
_RESET = {
    "all": "forgets everything",
    "magnitude": "keeps the largest numbers of its memory",
}
_SIDE, _BYTES = 1600, 200_000
_TITLES = {
    "change": "Output changed by",
    "norm": "Length of the cycle",
    "total_norm": "Length of all",
    "layer": "Layer changed most",
    "rank": "Its ranks that matter",
    "held": "Ranks held",
}
"""What a merge tells, in words."""
_SKIPPED = frozenset({"time", "kind"})


@dataclass(frozen=True)
class Table:
    """Rows of texts under their heads."""

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    left_out: str = ""


@dataclass(frozen=True)
class Rank:
    """One rank that can be cut from a DyLoRA file.

    Attributes:
        rank: of the cut file.
        loss: on held-out pictures.
        above: how far above the lowest loss it lies.
        bar: that as a share of the highest there is, for a bar.
        size: of the file.
        enough: whether it is the smallest that is nearly as good as the best.
    """

    rank: str
    loss: str
    above: str
    bar: float
    size: str
    enough: bool


@dataclass(frozen=True)
class Method:
    """One method that a run used."""

    title: str
    about: str
    facts: tuple[tuple[str, str], ...] = ()
    table: Table | None = None
    chart: Chart | None = None
    ranks: tuple[Rank, ...] = ()
    said: str = ""
    command: str = ""
    picture: Picture | None = None
    caption: str = ""


def methods(folder: RunRecord) -> list[Method]:
    """Returns what the run used, in the order of its own section."""
    made = (_erase, _copier, _relora, _dylora, _quantized, _merged_before, _went_on)
    return [one for make in made if (one := make(folder)) is not None]


def _erase(folder: RunRecord) -> Method | None:
    config = folder.run.erase
    if not config.on:
        return None
    said, concepts = "", config.prompts
    try:
        concepts = prompts(config, folder.path)
    except UserError as error:
        said = f"The file of concepts cannot be read any more: {error.line()}"
    heads = ("Concept", "Action", "Guidance", "Drawn like", "Taken away or added")
    rows = [_concept(one) for one in concepts]
    return Method(
        "Concepts from words (LECO)",
        "No picture was shown: the model was taught, by its own answers, to draw each concept "
        "like something else, or more strongly.",
        table=_bounded(heads, rows, "the run's settings"),
        said=said,
    )


def _concept(one: ErasePrompt) -> tuple[str, ...]:
    return one.target, one.action, f"{one.guidance_scale:g}", _named(one.like), _named(one.away)


def _named(text: str) -> str:
    return text or "(the empty text)"


def _copier(folder: RunRecord) -> Method | None:
    config = folder.run.copier
    if not config.on:
        return None
    told = folder.last("copied")
    rows = [
        ("Before the change", PurePath(config.train_folder.replace("\\", "/")).name),
        ("First stage", counted(config.steps, "step")),
    ]
    if is_number(alike := told.get("likeness")):
        rows.append(("How alike its answers were to those pictures", facts.percent(alike)))
    path = folder.inside(told.get("path"))
    return Method(
        "Copy-machine LoRA",
        "First the model was over-trained on the pictures before the change until it draws nothing "
        "else; then it learnt those after the change, so that the file holds the change alone. "
        "A negative strength takes the change back.",
        facts=tuple(rows),
        picture=from_file(path, _SIDE, _BYTES) if path else None,
        caption="Unrelated prompts, answered by the base model (above) and by the first stage.",
    )


def _relora(folder: RunRecord) -> Method | None:
    config = folder.run.relora
    if not config.every_steps:
        return None
    merges = _by_step(folder.all("merged"))
    rows = [
        ("A cycle", counted(config.every_steps, "step")),
        ("Merges", f"{len(merges)}"),
        ("The optimizer at a merge", _RESET[config.reset]),
    ]
    if config.rate_factor != 1:
        rows.append(("Learning rate of a cycle", f"{config.rate_factor:g} of the one before"))
    rows += _file_rank(folder)
    names = _names(merges)
    heads = [_TITLES.get(name, name.replace("_", " ").capitalize()) for name in names]
    return Method(
        "Cycles that were merged (ReLoRA)",
        "After each cycle the LoRA was added to the base and began again from nothing; the sum of "
        "all cycles has a higher rank than any one of them.",
        facts=tuple(rows),
        table=_bounded(heads, [[_shown(e.get(n)) for n in names] for e in merges], "events.jsonl"),
    )


def _file_rank(folder: RunRecord) -> list[tuple[str, str]]:
    """Returns the ranks of the last file beside those that were trained."""
    found = folder.checkpoints()
    trained = getattr(folder.run.adapter, "rank", None)
    try:
        header = read_header(found[-1].path)[0] if found else {}
    except UserError:
        return []
    shapes = [row["shape"] for name, row in header.items() if name.endswith(".lora_down.weight")]
    ranks = [shape[0] for shape in shapes if shape]
    if not ranks:
        return []
    span = f"{min(ranks)}" if min(ranks) == max(ranks) else f"{min(ranks)} to {max(ranks)}"
    return [("Rank of the file", f"{span}, trained with {trained}" if trained else span)]


def _dylora(folder: RunRecord) -> Method | None:
    told = folder.last("ranks")
    if not isinstance(folder.run.adapter, DyLora):
        return None
    about = "All ranks were trained at once: the first ones of the file are a LoRA by themselves."
    rows, enough = _ranks(told)
    title = "A file of many ranks (DyLoRA)"
    if not rows:
        said = (
            "No rank was measured: with pictures held out (`data.validation_split`) the run "
            "ends with the loss of each."
        )
        return Method(title, about, said=said)
    curve = Curve("held out", "main", [(row["rank"], row["loss"]) for row in rows], dots=True)
    by_rank = chart("Held-out loss", [curve], from_zero=False, marked=enough, by="rank")
    best = enough is not None and enough != rows[-1]["rank"]
    return Method(
        title,
        about,
        chart=by_rank,
        ranks=tuple(_rank(row, rows, enough) for row in rows),
        said=f"Rank {enough} is the smallest within 2 % of the best." if enough else "",
        command=_cut(told.get("path"), enough) if best and enough else "",
    )


def _ranks(told: Event) -> tuple[list[dict[str, Any]], int | None]:
    """Returns the rows whose rank and loss are numbers, and the rank that is enough."""
    rows = told.get("rows")
    found = [
        row
        for row in (rows if isinstance(rows, list) else [])
        if isinstance(row, dict) and is_step(row.get("rank")) and is_number(row.get("loss"))
    ]
    enough = told.get("enough")
    known = {row["rank"] for row in found}
    return found[:MOST_ROWS], enough if is_step(enough) and enough in known else None


def _rank(row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], enough: int | None) -> Rank:
    losses = [one["loss"] for one in rows]
    low, span = min(losses), max(losses) - min(losses)
    above = (row["loss"] / low - 1) if low > 0 else 0.0
    return Rank(
        f"{row['rank']}",
        f"{row['loss']:.5f}",
        f"{100 * above:.1f} %",
        (row["loss"] - low) / span if span > 0 else 0.0,
        facts.size(row.get("file_bytes")),
        row["rank"] == enough,
    )


def _cut(path: object, rank: int) -> str:
    file = path if isinstance(path, str) and path.endswith(".safetensors") else "FILE.safetensors"
    out = f"{file.removesuffix('.safetensors')}-rank{rank}.safetensors"
    return f"renma file cut {shlex.quote(file)} {shlex.quote(out)} --rank {rank}"


def _quantized(folder: RunRecord) -> Method | None:
    storage = folder.run.model.quantize
    if storage == "none":
        return None
    plan = folder.last("started").get("plan")
    memory = plan.get("memory") if isinstance(plan, dict) else None
    weights = memory.get("weights") if isinstance(memory, dict) else None
    peak = folder.last("finished").get("peak_memory_mib")
    known: tuple[tuple[str, object], ...] = (
        ("Frozen model, estimated", weights),
        ("Peak memory, measured", peak),
    )
    rows = [("Frozen weights", f"{storage}: {_STORAGE[storage]}")]
    rows += [(name, f"{mib:.0f} MiB") for name, mib in known if is_number(mib)]
    return Method(
        "A base in few bits (QLoRA)",
        "The frozen weights were kept in few bits and computed back for each product; the LoRA "
        "itself was trained in full precision. It acts on the ordinary model too.",
        facts=tuple(rows),
    )


def _merged_before(folder: RunRecord) -> Method | None:
    start = folder.run.start
    if not start.base_weights:
        return None
    strengths = (*start.base_strengths, *[1.0] * len(start.base_weights))
    pairs = zip(start.base_weights, strengths, strict=False)
    rows = [(Path(name).name, f"strength {strength:g}") for name, strength in pairs]
    return Method(
        "Learnt upon other LoRAs (difference learning)",
        "These files were part of the base while training: the LoRA holds only what they lack, "
        "and is used together with them or, for the difference alone, without.",
        facts=tuple(rows[:MOST_ROWS]),
    )


def _went_on(folder: RunRecord) -> Method | None:
    start = folder.run.start
    if not start.weights:
        return None
    kept = "those of the file" if start.ranks_from_file else "those of the settings"
    return Method(
        "Went on from a LoRA",
        "Training did not begin from nothing but from a finished LoRA.",
        facts=(("File", Path(start.weights).name), ("Layers and ranks", kept)),
    )


def _bounded(heads: Sequence[str], rows: Sequence[Sequence[str]], where: str) -> Table | None:
    if not rows:
        return None
    rest = len(rows) - MOST_ROWS
    more = f"and {rest} more in {where}" if rest > 0 else ""
    return Table(tuple(heads), tuple(tuple(row) for row in rows[:MOST_ROWS]), more)


def _by_step(events: Sequence[Event]) -> list[Event]:
    """Returns the last telling of each step: a resumed run repeats some."""
    found = {event["step"]: event for event in events if is_step(event.get("step"))}
    return [found[step] for step in sorted(found)]


def _names(events: Sequence[Event]) -> list[str]:
    """Returns what the events tell, in the order in which they tell it."""
    all_names = dict.fromkeys(name for event in events for name in event)
    return [facts.cut(name, 40) for name in all_names if name not in _SKIPPED][:8]


def _shown(value: object) -> str:
    if is_number(value):
        return number(value)
    return facts.cut(value) if isinstance(value, str) and value else "–"
