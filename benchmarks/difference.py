"""What a second LoRA adds: learnt on top of a first one, or as its last, slow steps.

    python benchmarks/difference.py --out benchmarks/results --work DIR [--seeds 5]

Runs recipes/difference.toml and recipes/quality-up.toml with several seeds (`renma train`, in
processes of their own) and tells the loss on the pictures that neither the runs nor the LoRA they
begin with have seen:
* difference: the plain model, the first LoRA alone, the second alone, and both;
* quality-up: before, after, and after as many steps of the optimizer that made the first LoRA.
Runs that are finished in DIR are not done again. Writes difference.json.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from command import renma

ROOT = Path(__file__).parents[1]
RECIPES = ROOT / "recipes"
QUIET = (
    "train.threads=1", "train.tensorboard=false", "train.validate_every_epochs=0",
    "train.state_every_minutes=0.0",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("runs/difference"))
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    rows: dict[str, list[dict[str, float]]] = {"difference": [], "quality-up": []}
    for seed in range(options.seeds):
        rows["difference"].append(difference(options.work, seed))
        rows["quality-up"].append(quality_up(options.work, seed))
        print(json.dumps({name: found[-1] for name, found in rows.items()}), flush=True)
    means = {
        name: {key: round(sum(row[key] for row in found) / len(found), 5) for key in found[0]}
        for name, found in rows.items()
    }
    print(json.dumps(means, indent=2))
    table = {"loss": "on held-out pictures", "seeds": rows, "mean": means}
    (options.out / "difference.json").write_text(json.dumps(table, indent=2) + "\n")


def difference(work: Path, seed: int) -> dict[str, float]:
    """Returns held-out losses of the model with neither, either and both LoRAs."""
    losses = trained("difference", work / f"difference-{seed}", seed)
    rest = (work / f"difference-{seed}" / "lora" / "rest.safetensors").resolve()
    return {
        "plain model": alone(work / f"plain-{seed}", seed, ()),
        "first": losses[0],
        "second alone": alone(work / f"second-{seed}", seed, (rest,)),
        "both": losses[-1],
    }


def quality_up(work: Path, seed: int) -> dict[str, float]:
    """Returns held-out losses before and after going on by hand, and automatically."""
    slow = trained("quality-up", work / f"slow-{seed}", seed)
    same = ("optimizer={name='prodigy', learning_rate=1, args={d0=1e-4}}", "schedule.name=constant")
    automatic = trained("quality-up", work / f"automatic-{seed}", seed, same)
    return {"before": slow[0], "by hand": slow[-1], "automatic": automatic[-1]}


def alone(folder: Path, seed: int, loras: Sequence[Path]) -> float:
    """Returns the loss of a model with LoRAs merged: what a run on top of them begins with."""
    names = ", ".join(f"'{path}'" for path in loras)
    values = (f"start.base_weights=[{names}]", "start.base_strengths=[]", "train.max_steps=1")
    return trained("difference", folder, seed, values)[0]


def trained(recipe: str, folder: Path, seed: int, values: Sequence[str] = ()) -> list[float]:
    """Trains a recipe, unless it is done, and returns the held-out losses it told."""
    events = folder / "events.jsonl"
    if not (events.exists() and '"finished"' in events.read_text(encoding="utf-8")):
        options = [w for v in (*QUIET, f"train.seed={seed}", *values) for w in ("--set", v)]
        begun = ["--resume"] if any(folder.rglob("step-*.safetensors")) else []
        given = (str(RECIPES / f"{recipe}.toml"), "--out", str(folder))
        renma("train", *given, *options, *begun)
    rows: list[dict[str, Any]] = [json.loads(line) for line in events.read_text().splitlines()]
    return [round(row["loss"], 5) for row in rows if row["kind"] == "validated"]


if __name__ == "__main__":
    main()
