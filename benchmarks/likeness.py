"""What the sample runs learn, over five seeds: character with and without regularisation, style.

    python benchmarks/likeness.py --out benchmarks/results [--seeds 1 2 3 4 5] [--work DIR]

Every run is `renma init`, `renma train`, `renma judge`, `renma grid` in processes of their own, as
a user would start them. Runs that are finished in DIR are not done again. Writes likeness.json
(every score.json, means and the worst and best seed) and one grid of each kind.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
from pathlib import Path
from typing import Any

from command import renma

KINDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "character": ("character", ()),
    "character-without-reg": ("character", ("data.reg_folder=''",)),
    "style": ("style", ()),
}
FIELDS = ("likeness", "leakage", "base_likeness", "base_leakage", "seconds", "peak_memory_mib")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("runs/likeness"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    table: dict[str, Any] = {}
    for kind in arguments.kinds:
        scores = {seed: score(kind, seed, arguments.work) for seed in arguments.seeds}
        first = arguments.work / f"{kind}-{arguments.seeds[0]}"
        renma("grid", str(first))
        table[kind] = {"seeds": scores, **summary(list(scores.values()))}
        print(kind, json.dumps(table[kind]["mean"]), flush=True)
        shutil.copy(first / "grid.png", arguments.out / f"{kind}.png")
        (arguments.out / "likeness.json").write_text(json.dumps(table, indent=2) + "\n")


def score(kind: str, seed: int, work: Path) -> dict[str, float]:
    """Does one run, unless it is done, and returns its scores."""
    sample, values = KINDS[kind]
    folder = work / f"{kind}-{seed}"
    result = folder / "score.json"
    if not result.exists():
        shutil.rmtree(folder, ignore_errors=True)
        renma("init", str(folder), "--sample", sample)
        assignments = [f"train.seed={seed}", "train.save_every_steps=0", *values]
        options = [word for value in assignments for word in ("--set", value)]
        renma("train", str(folder / "run.toml"), *options, "--out", str(folder))
        renma("judge", str(folder))
    row = json.loads(result.read_text(encoding="utf-8"))
    return {field: row[field] for field in FIELDS}


def summary(rows: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Returns mean, lowest and highest of every score."""
    columns = {field: [row[field] for row in rows] for field in FIELDS}
    return {
        "mean": {field: round(statistics.mean(v), 4) for field, v in columns.items()},
        "lowest": {field: min(v) for field, v in columns.items()},
        "highest": {field: max(v) for field, v in columns.items()},
    }


if __name__ == "__main__":
    main()
