"""What every algorithm learns in the same time: likeness, leakage, speed, memory, file size.

    python benchmarks/algorithms.py --out benchmarks/results [--budget 60] [--only lora loha]

First the processor time of a step is measured, all algorithms in turn and again, so that a busy
machine disturbs all alike. Then each trains the character sample with `renma train` for as many
steps as fit into the budget and is scored with `renma judge`, in processes of their own and on one
thread, as a user would start them. What is finished in --work is not done again. Writes
algorithms.json and algorithms.jpg (a row of pictures for each, with the same prompts and noise),
and prints the table as Markdown.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from renma.config.picture_recipe import Recipe
from renma.config.prompts import Prompt
from renma.config.run_tasks import TrainOptions
from renma.core import keyed
from renma.core.events import Silent, read_events
from renma.drawing.painter import Cells
from renma.drawing.picture_source import Shelf, Source
from renma.drawing.sheet import sheet
from renma.judge.folder import RunRecord
from renma.train import task

ROUNDS, CALIBRATION = 2, 10
"""Runs, and steps of each, that measure an algorithm's step."""
QUICK = 0.1
"""The share of the quickest steps whose slowest counts as a step's time: what other programs on the
machine cost is not the algorithm's."""
NEARLY = 0.93
"""A run with this share of the budget's steps is not continued."""
PICTURES = 16
"""Pictures of each score, with and without the trigger."""
PROMPTS = (
    ("with the trigger", "aa12, adventurer style, person", 3),
    ("with the trigger, smile", "aa12, adventurer style, person, smile, blue background", 1),
    ("without it", "adventurer style, person", 2),
    ("without it, smile", "adventurer style, person, smile, blue background", 1),
)
"""Label, prompt and number of pictures in the grid."""
CELL = (88, 88)


@dataclass(frozen=True)
class Kind:
    """One algorithm as it is trained here.

    Attributes:
        title: its name in the table.
        adapter: the [adapter] section as an inline table.
        rate: learning rate of the U-Net; the text encoder's is three times that.
        more: further options.
    """

    title: str
    adapter: str
    rate: float
    more: tuple[str, ...] = ()


_LORA = 'algo="lora", rank=16, alpha=16'
KINDS: dict[str, Kind] = {
    "lora": Kind("LoRA", _LORA, 1e-3),
    "dora-output": Kind("LoRA + DoRA, outputs", f'{_LORA}, dora="output"', 1e-3),
    "dora-input": Kind("LoRA + DoRA, inputs", f'{_LORA}, dora="input"', 1e-3),
    "locon": Kind("LoRA on convolutions too (LoCon)", f'{_LORA}, targets={{preset="conv"}}', 1e-3),
    "nf4": Kind("LoRA on an nf4 base (QLoRA)", _LORA, 1e-3, ('model.quantize="nf4"',)),
    "pissa": Kind("LoRA, PiSSA start", f'{_LORA}, start="pissa"', 3e-4),
    "rslora": Kind("rsLoRA, rank 32", 'algo="lora", rank=32, alpha=16, rank_stabilized=true', 5e-4),
    "lora_fa": Kind("LoRA-FA", 'algo="lora_fa", rank=16, alpha=16', 3e-3),
    "dylora": Kind("DyLoRA", 'algo="dylora", rank=16, alpha=16, unit=4, frozen=true', 1e-3),
    "loha": Kind("LoHa, rank 8", 'algo="loha", rank=8, alpha=8', 3e-3),
    "lokr": Kind("LoKr, factor 4", 'algo="lokr", rank=16, alpha=16, factor=4', 5e-3),
    "glora": Kind("GLoRA, rank 8", 'algo="glora", rank=8, alpha=8', 1e-3),
    "mora": Kind("MoRA", 'algo="mora", rank=16', 1e-3),
    "oft": Kind("OFT, blocks of 16", 'algo="oft", rank=16', 1e-3),
    "ia3": Kind("(IA)3", 'algo="ia3", targets={preset="ia3"}', 3e-2),
    "ia3-all": Kind("(IA)3, all layers", 'algo="ia3", targets={preset="full"}', 1e-2),
    "full": Kind("full", 'algo="full"', 1e-4),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("runs/algorithms"))
    parser.add_argument("--budget", type=float, default=60.0, help="seconds of training for each")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--only", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        calibrate(arguments.only, arguments.work, arguments.seed)
        return
    arguments.out.mkdir(parents=True, exist_ok=True)
    arguments.work.mkdir(parents=True, exist_ok=True)
    timing = arguments.work / "timing.json"
    if not timing.exists():
        python(*sys.argv, "--measure")
    seconds = json.loads(timing.read_text(encoding="utf-8"))
    rows: dict[str, dict[str, Any]] = {}
    for name in arguments.only:
        folder = arguments.work / name
        if not (folder / "score.json").exists():
            learn(KINDS[name], folder, round(arguments.budget / seconds[name]), arguments.seed)
        rows[name] = measured(KINDS[name], folder, seconds[name])
        print(name, json.dumps(rows[name]), flush=True)
    table = {
        "budget_seconds": arguments.budget,
        "seed": arguments.seed,
        "pictures": PICTURES,
        "base": base_figures(arguments.work / arguments.only[0]),
        "algorithms": rows,
    }
    (arguments.out / "algorithms.json").write_text(json.dumps(table, indent=2) + "\n")
    picture(arguments.work, arguments.only, arguments.out / "algorithms.jpg")
    print(markdown(table))


class Clock:
    """A listener that notes the processor time of every step."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def event(self, kind: str, **_: Any) -> None:
        """Notes the time at the end of a step."""
        if kind == "step":
            self.times.append(time.process_time())

    def line(self, text: str) -> None:
        """Drops the line."""

    def seconds(self) -> list[float]:
        """Returns the time of each step but the first."""
        return [after - before for before, after in itertools.pairwise(self.times)]


def calibrate(names: list[str], work: Path, seed: int) -> None:
    """Writes the processor seconds that a step of each algorithm takes."""
    found: dict[str, list[float]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as folder:
        sample = Path(folder) / "sample"
        renma("init", str(sample), "--sample", "character")
        for turn in range(ROUNDS):
            for name in names:
                options = TrainOptions(
                    run=sample / "run.toml",
                    set=assignments(KINDS[name], CALIBRATION, seed),
                    out=Path(folder) / f"{name}-{turn}",
                )
                clock = Clock()
                task.run(options, clock)
                found[name] += clock.seconds()
                print(name, f"{min(clock.seconds()):.3f}", flush=True)
    quickest = {name: round(sorted(v)[round(QUICK * len(v))], 4) for name, v in found.items()}
    (work / "timing.json").write_text(json.dumps(quickest, indent=1) + "\n")


def learn(kind: Kind, folder: Path, steps: int, seed: int) -> None:
    """Trains, or continues, a run and scores its last checkpoint."""
    if not is_trained(folder):
        shutil.rmtree(folder, ignore_errors=True)
        renma("init", str(folder), "--sample", "character")
        options = [word for value in assignments(kind, steps, seed) for word in ("--set", value)]
        renma("train", str(folder / "run.toml"), *options, "--out", str(folder))
    elif len(step_seconds(folder)) < NEARLY * steps:
        renma("train", "--resume", "--out", str(folder), "--set", f"train.max_steps={steps}")
    renma("judge", str(folder))


def assignments(kind: Kind, steps: int, seed: int) -> tuple[str, ...]:
    """Returns what differs from the sample's run.toml: no previews, only the last checkpoint."""
    return (
        f"adapter={{{kind.adapter}}}",
        f"optimizer.learning_rate={kind.rate!r}",
        f"optimizer.text_encoder_lr={3 * kind.rate!r}",
        f"train.max_steps={steps}",
        f"train.seed={seed}",
        "train.threads=1",
        "train.save_every_steps=0",
        "sample.every_steps=0",
        f"judge.pictures={PICTURES}",
        *kind.more,
    )


def is_trained(folder: Path) -> bool:
    """Says whether a run came to its end."""
    log = folder / "events.jsonl"
    return log.exists() and any(row["kind"] == "finished" for row in read_events(log))


def step_seconds(folder: Path) -> list[float]:
    """Returns how long each step of a run took, on the clock."""
    return [row["seconds"] for row in read_events(folder / "events.jsonl") if row["kind"] == "step"]


def measured(kind: Kind, folder: Path, cpu: float) -> dict[str, Any]:
    """Returns the row of one finished run."""
    record = RunRecord.open(folder)
    score = json.loads((folder / "score.json").read_text(encoding="utf-8"))
    last, seconds = score["checkpoints"][-1], step_seconds(folder)
    losses = [event["loss"] for event in record.all("step")]
    return {
        "title": kind.title,
        "adapter": kind.adapter,
        "learning_rate": kind.rate,
        "steps": len(seconds),
        "steps_skipped": sum(loss is None for loss in losses),
        "cpu_seconds_per_step": cpu,
        "clock_seconds_per_step": round(statistics.median(seconds), 4),
        "peak_memory_mib": record.last("finished")["peak_memory_mib"],
        "parameters": record.last("started")["trainable_parameters"],
        "file_bytes": (folder / last["path"]).stat().st_size,
        **{name: last[name] for name in SCORES},
        "likeness_by_attribute": {n: one["likeness"] for n, one in last["attributes"].items()},
    }


SCORES = ("likeness", "likeness_error", "leakage", "leakage_error")


def base_figures(folder: Path) -> dict[str, float]:
    """Returns what the base model shows for the same prompts and noise."""
    score = json.loads((folder / "score.json").read_text(encoding="utf-8"))
    return {"likeness": score["base_likeness"], "leakage": score["base_leakage"]}


def picture(work: Path, names: list[str], target: Path) -> None:
    """Writes one row of pictures for the base model and for each algorithm."""
    rows, labels = [], []
    for name in (None, *names):
        record = RunRecord.open(work / (name or names[0]))
        painter = Cells(record.path / "cells", Silent(), device=record.run.train.device)
        paths = painter.paint(row_of(record, with_lora=name is not None))
        rows.append([Image.open(path) for path in paths])
        labels.append(KINDS[name].title if name else "base model")
    heads = [label for label, _, count in PROMPTS for _ in range(count)]
    page = sheet(rows, row_labels=labels, column_labels=heads, cell=CELL)
    page.save(target, quality=72, optimize=True)


def row_of(record: RunRecord, *, with_lora: bool) -> list[Recipe]:
    """Returns the pictures of one row, drawn as the run's previews are."""
    last, how = record.need_checkpoints()[-1].path, record.run.sample
    source, shelf = Source.of_run(record.run, record.path, last), Shelf(None, {})
    facts = source.facts()
    loras = (*shelf.standing(source), *([shelf.used("row", last)] if with_lora else []))
    shared = {**source.basis(facts), "loras": loras}
    same: dict[str, Any] = {
        "width": facts.native_size,
        "height": facts.native_size,
        **{option: getattr(how, option) for option in ("steps", "sampler", "scale", "rescale")},
    }
    return [
        Recipe(
            **shared,
            prompt=Prompt(
                text=text, seed=keyed.key(record.run.train.seed, "row", i) % 2**31, **same
            ),
        )
        for _, text, count in PROMPTS
        for i in range(count)
    ]


def markdown(table: dict[str, Any]) -> str:
    """Returns the table for the documentation."""
    heads = (
        "algorithm",
        "rate",
        "steps",
        "ms a step",
        "MiB",
        "file, KB",
        "with trigger",
        "without",
    )
    rows = [heads, ("---",) * len(heads)]
    rows += [
        (
            row["title"],
            f"{row['learning_rate']:g}",
            f"{row['steps']}",
            f"{row['cpu_seconds_per_step'] * 1000:.0f}",
            f"{row['peak_memory_mib']:.0f}",
            f"{row['file_bytes'] / 1000:.0f}",
            f"{row['likeness']:.0%}",
            f"{row['leakage']:.0%}",
        )
        for row in table["algorithms"].values()
    ]
    base = table["base"]
    rows.append(("base model", *[""] * 5, f"{base['likeness']:.0%}", f"{base['leakage']:.0%}"))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows).replace("%", " %")


def renma(*words: str) -> None:
    python("-m", "renma", *words)


def python(*words: str) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    subprocess.run([sys.executable, "-W", "ignore", *words], check=True, env=environment)


if __name__ == "__main__":
    main()
