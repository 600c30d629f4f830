"""What every algorithm learns in the same time: likeness, leakage, speed, memory, file size.

    python benchmarks/algorithms.py --out benchmarks/results [--budget 60] [--only lora loha]

Each trains the character sample with `renma train` and is scored with `renma judge`, in processes
of their own and on one thread, as a user would start them. A run of a few steps tells how long a
step takes, so that each gets as many steps as fit into the budget. Runs that are finished in --work
are not done again. Writes algorithms.json and algorithms.jpg (a row of pictures for each, with the
same prompts and noise), and prints the table as Markdown.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from renma.core import keyed
from renma.core.events import Silent, read_events
from renma.judge.folder import RunRecord
from renma.judge.grid import shot
from renma.judge.paint import Cell, open_painter
from renma.judge.sheet import sheet

CALIBRATION = 16
"""Steps of the run that measures a step."""
UNDISTURBED = 0.1
"""The share of the quickest steps whose slowest is called a step's time: on a machine that others
use too, it says more than the mean."""
NEARLY = 0.9
"""Share of the steps of a full budget that is not worth continuing for."""
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
    "dylora": Kind("DyLoRA", 'algo="dylora", rank=16, alpha=16, unit=4', 1e-3),
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
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows: dict[str, dict[str, Any]] = {}
    for name in arguments.only:
        folder = arguments.work / name
        if not (folder / "score.json").exists():
            learn(KINDS[name], folder, arguments.budget, arguments.seed)
        rows[name] = measured(KINDS[name], folder)
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


def learn(kind: Kind, folder: Path, budget: float, seed: int) -> None:
    """Measures a step, trains as many as fit into the budget, scores the last checkpoint.

    A run that turns out to be quicker than its measurement is continued until the time is up.
    """
    if not is_trained(folder):
        shutil.rmtree(folder, ignore_errors=True)
        renma("init", str(folder), "--sample", "character")
        first = folder / "calibration"
        train(kind, folder, first, CALIBRATION, seed)
        train(kind, folder, folder, steps_in(budget, first), seed)
    enough = steps_in(budget, folder)
    if len(step_seconds(folder)) < NEARLY * enough:
        renma("train", "--resume", "--out", str(folder), "--set", f"train.max_steps={enough}")
    renma("judge", str(folder))


def is_trained(folder: Path) -> bool:
    """Says whether a run came to its end."""
    log = folder / "events.jsonl"
    return log.exists() and any(row["kind"] == "finished" for row in read_events(log))


def steps_in(budget: float, folder: Path) -> int:
    """Returns how many steps such as a run's fit into a number of seconds."""
    return max(1, round(budget / quick(step_seconds(folder))))


def train(kind: Kind, sample: Path, out: Path, steps: int, seed: int) -> None:
    """Trains one run on the sample's pictures; no previews, only the last checkpoint."""
    assignments = (
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
    options = [word for value in assignments for word in ("--set", value)]
    renma("train", str(sample / "run.toml"), *options, "--out", str(out))


def step_seconds(folder: Path) -> list[float]:
    """Returns how long each step of a run took."""
    return [row["seconds"] for row in read_events(folder / "events.jsonl") if row["kind"] == "step"]


def quick(seconds: list[float]) -> float:
    """Returns the time of a step that nothing else on the machine held up."""
    return sorted(seconds)[round(UNDISTURBED * (len(seconds) - 1))]


def measured(kind: Kind, folder: Path) -> dict[str, Any]:
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
        "seconds_trained": round(sum(seconds), 1),
        "seconds_per_step": round(quick(seconds), 4),
        "seconds_per_step_median": round(statistics.median(seconds), 4),
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
        painter = open_painter(record, Silent())
        checkpoint = record.need_checkpoints()[-1].path if name else None
        cells = [
            Cell(shot(record, text, keyed.key(record.run.train.seed, "row", i) % 2**31), checkpoint)
            for _, text, count in PROMPTS
            for i in range(count)
        ]
        rows.append(painter.paint(cells))
        labels.append(KINDS[name].title if name else "base model")
    heads = [label for label, _, count in PROMPTS for _ in range(count)]
    page = sheet(rows, row_labels=labels, column_labels=heads, cell=CELL)
    page.save(target, quality=86, optimize=True)


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
            f"{row['seconds_per_step'] * 1000:.0f}",
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
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    command = [sys.executable, "-W", "ignore", "-m", "renma", *words]
    subprocess.run(command, check=True, env=environment)


if __name__ == "__main__":
    main()
