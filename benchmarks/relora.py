"""ReLoRA: do cycles of a rank beat one LoRA of that rank, and how near do they come to n times it?

    python benchmarks/relora.py --out benchmarks/results [--seeds 5] [--work DIR]

Five drawing styles that the base model has never seen, learnt by a few layers alone, so that rank 1
is soon all used: ReLoRA can only help where the rank is what is missing. For each seed other
pictures are drawn, a fifth of them is held out, and these layers are trained for equally many
steps: LoRA of rank r, ReLoRA with n cycles of rank r, and LoRA of rank n r, which trains n times as
many numbers at a time. The held-out loss (the same pictures, noise and timesteps for all) says what
was learnt. The learning rate was the best of 0.01, 0.03, 0.05 and 0.1 for the plain LoRA on seed
100, which is not among the five; the others have the same. What is finished in DIR is not done
again. Writes relora.json and relora.png: captions of training pictures drawn by each. Needs the
packages of tools/mame/README.md.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from command import renma
from renma.config.model import ModelConfig
from renma.core.events import read_events
from renma.drawing.sheet import sheet
from renma.engine import low_rank
from renma.engine.low_rank import Factors
from renma.engine.model import load_family
from renma.engine.network import Network
from renma.engine.sample import Shot, draw
from renma.formats import lora_file

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tools" / "mame"))

import avatar  # noqa: E402

STYLES = ("big-smile", "lorelei", "pixel-art", "miniavs", "dylan")
"""Drawing styles that mame has never seen."""
PICTURES, SIDE = 40, 64
"""Of each style, and how large they are trained: more steps for the same time."""
RANK, CYCLES, STEPS = 1, 4, 1200
RATES = {"lora": 5e-2, "relora": 5e-2, "ceiling": 5e-2}
FELT = 0.01
"""Singular values below this share of a layer's largest do not count as a rank."""
NAME = "styles"
SETTINGS = """[model]
path = "mame"
[data]
train_folder = "train"
resolution = {side}
batch_size = 4
validation_split = 0.2
validation_seed = {seed}
[adapter]
targets.preset = "attention"
targets.only = ["*up_blocks_3*attn1_to_v"]
[train]
seed = {seed}
text_encoder = false
threads = 1
precision = "fp32"
tensorboard = false
state_every_minutes = 0
validate_every_epochs = 0
[output]
precision = "fp32"
name = "styles"
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("runs/relora"))
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    table: dict[str, Any] = {
        "rank": RANK, "cycles": CYCLES, "steps": STEPS, "rates": RATES, "seeds": {},
    }  # fmt: skip
    for seed in range(arguments.seeds):
        folder = project(arguments.work / str(seed), seed)
        table["seeds"][seed] = row = compared(folder)
        print(seed, json.dumps(row), flush=True)
        table |= summary(list(table["seeds"].values()))
        (arguments.out / "relora.json").write_text(json.dumps(table, indent=1) + "\n")
    picture(arguments.work / "0", arguments.out / "relora.png")


def project(folder: Path, seed: int) -> Path:
    """Draws the pictures of a seed, unless they are there, and writes run.toml."""
    if not (folder / "run.toml").exists():
        for style in STYLES:
            place = folder / "train" / f"1_{style}"
            place.mkdir(parents=True, exist_ok=True)
            for number in range(PICTURES):
                drawn, _, tags = avatar.draw_other(style, 10_000 * seed + number)
                drawn.save(place / f"{number:02d}.png", optimize=True)
                words = ", ".join([f"{style} style", *tags[1:]])
                (place / f"{number:02d}.txt").write_text(words + "\n", encoding="utf-8")
        (folder / "run.toml").write_text(SETTINGS.format(seed=seed, side=SIDE), encoding="utf-8")
    return folder


def options(kind: str) -> dict[str, Any]:
    """Returns what a kind of training has of its own."""
    rank = RANK * CYCLES if kind == "ceiling" else RANK
    found: dict[str, Any] = {
        "train.max_steps": STEPS,
        "adapter.rank": rank,
        "adapter.alpha": rank,
        "optimizer.learning_rate": RATES[kind],
    }
    if kind != "relora":
        return found | {"schedule": '{name="cosine_with_min_lr",warmup_steps=20}'}
    every = STEPS // CYCLES
    schedule = f'{{name="jagged_cosine",warmup_steps=20,cycle_steps={every}}}'
    return found | {"relora.every_steps": every, "schedule": schedule}


def compared(folder: Path) -> dict[str, Any]:
    """Trains each kind, unless that is done; returns held-out losses, ranks and merges."""
    found: dict[str, Any] = {}
    for kind in RATES:
        out = folder / kind
        if not (out / "lora" / f"{NAME}.safetensors").exists():
            words = [
                w for name, value in options(kind).items() for w in ("--set", f"{name}={value}")
            ]
            renma("train", str(folder / "run.toml"), *words, "--out", str(out), one_thread=True)
        rows = list(read_events(out / "events.jsonl"))
        losses = [row["loss"] for row in rows if row["kind"] == "validated"]
        found["base"], found[kind] = round(losses[0], 5), round(losses[-1], 5)
        found[f"{kind}_rank"] = round(rank_of(out / "lora" / f"{NAME}.safetensors"), 2)
        if kind == "relora":
            merged = [row for row in rows if row["kind"] == "merged"]
            found["change_at_merges"] = [row["change"] for row in merged]
            found["norms"] = [round(row["norm"], 2) for row in merged]
    return found


def rank_of(path: Path) -> float:
    """Returns how many singular values of a layer's update matter, the mean over the layers."""
    counts = []
    for tensors in lora_file.read(path).layers.values():
        up, down = (tensors[f"lora_{side}.weight"].flatten(1).float() for side in ("up", "down"))
        values = low_rank.spectrum(Factors(up, down)).values
        counts.append(int((values > FELT * values[0]).sum()) if values[0] > 0 else 0)
    return statistics.mean(counts)


def summary(seeds: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns the means over the seeds, and in how many of them the cycles are better."""
    means = {kind: round(statistics.mean(s[kind] for s in seeds), 5) for kind in ("base", *RATES)}
    gaps = [(s["lora"] - s["relora"]) / (s["lora"] - s["ceiling"]) for s in seeds]
    return {
        "mean": means,
        "relora_better_than_lora_in": sum(s["relora"] < s["lora"] for s in seeds),
        "share_of_the_way_to_the_ceiling": round(statistics.median(gaps), 3),
        "largest_change_at_a_merge": max(c for s in seeds for c in s["change_at_merges"]),
    }


def picture(folder: Path, target: Path) -> None:
    """Writes a row for each caption: a picture of the set, the base model, and what each draws."""
    torch.set_num_threads(1)
    family = load_family(ModelConfig(), device="cpu")
    chosen = [folder / "train" / f"1_{style}" / "00.png" for style in STYLES]
    texts = [path.with_suffix(".txt").read_text(encoding="utf-8").strip() for path in chosen]
    shots = [
        Shot(
            text, seed=i, negative="", width=SIDE, height=SIDE, steps=20, scale=4.0, sampler="ddim"
        )
        for i, text in enumerate(texts)
    ]
    columns = [
        [Image.open(path).resize((SIDE, SIDE)) for path in chosen],
        list(draw(family, shots)),
    ]
    for kind in RATES:
        with Network.from_file(family, folder / kind / "lora" / f"{NAME}.safetensors").at():
            columns.append(list(draw(family, shots)))
    heads = [
        "drawn",
        "base model",
        f"LoRA {RANK}",
        f"ReLoRA {CYCLES} x {RANK}",
        f"LoRA {RANK * CYCLES}",
    ]
    rows = [[column[i] for column in columns] for i in range(len(texts))]
    made = sheet(rows, row_labels=list(STYLES), column_labels=heads, cell=(2 * SIDE, 2 * SIDE))
    made.save(target, optimize=True)


if __name__ == "__main__":
    main()
