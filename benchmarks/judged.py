"""Ten hidden sets: is the checkpoint that `renma judge` names best the best?

    python benchmarks/judged.py --out benchmarks/results [--sets 20 21 ... 29] [--work DIR]

Makes characters and styles of mame's domain by a seed (judged_sets.py), trains each as a user
would (400 steps, a checkpoint every 50), judges the run, and then has the attribute reader, which
the judge's verdict knows nothing of, look at other pictures of every checkpoint. Of the sets from
--over and --under one run each is trained far too fast for long, and far too slowly: is it called
so? What is done in DIR is not done again. Writes judged.json after every step.

Sets 0 to 9 and 100 to 109 were looked at while the judge was made, and the badly trained runs of 20
to 23 for the rule about rising losses: they show nothing any more.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from command import renma
from judged_sets import HiddenSet, trained
from renma.config.picture_recipe import Recipe
from renma.config.prompts import Prompt
from renma.core import keyed
from renma.core.events import Silent
from renma.drawing.painter import Cells
from renma.drawing.picture_source import Shelf, Source, lora_name
from renma.judge.attributes import AttributeReader
from renma.judge.folder import RunRecord

STEPS, EVERY = 400, 50
UNDER, OVER = ("slow", 60, 20), ("fast", 480, 60)
"""Course, steps, steps between checkpoints."""
READ = {"character": 8, "style": 34}
"""Pictures of each prompt for the reader: of a character it reads four attributes in each of 32, of
a style one in each of 102."""
NEAR = 0.03
"""Points that the choice may lie below the best."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("runs/judged"))
    parser.add_argument("--sets", type=int, nargs="*", default=list(range(20, 30)))
    parser.add_argument("--under", type=int, nargs="*", default=[24, 25, 26, 27])
    parser.add_argument("--over", type=int, nargs="*", default=[24, 25, 26, 27])
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    table: dict[str, Any] = {"sets": {}, "under": {}, "over": {}}
    for number in arguments.sets:
        table["sets"][number] = row = chosen(number, arguments.work)
        told = "as good" if row["regret"] <= NEAR else "worse"
        print(f"set {number} ({row['kind']}): {told}, {row['regret'] * 100:.1f} points", flush=True)
        write(arguments.out, table)
    for kind, (course, steps, every) in (("under", UNDER), ("over", OVER)):
        for number in getattr(arguments, kind):
            _, folder = trained(number, course, steps, every, arguments.work)
            table[kind][number] = {"state": judged(folder)["state"]}
            print(
                f"set {number}, {kind}-trained: called {table[kind][number]['state']}", flush=True
            )
            write(arguments.out, table)


def write(out: Path, table: dict[str, Any]) -> None:
    rows = list(table["sets"].values())
    if rows:
        table["within_3_points"] = sum(row["regret"] <= NEAR for row in rows)
        table["of"] = len(rows)
        table["mean_regret"] = round(float(np.mean([row["regret"] for row in rows])), 4)
        at_random = [float(np.mean(max(row["truth"]) - np.array(row["truth"]))) for row in rows]
        table["mean_regret_at_random"] = round(float(np.mean(at_random)), 4)
        last = [max(row["truth"]) - row["truth"][-1] for row in rows]
        table["mean_regret_of_the_last"] = round(float(np.mean(last)), 4)
    for kind in ("under", "over"):
        states = [row["state"] for row in table[kind].values()]
        table[f"{kind}_called_so"] = f"{states.count(f'{kind}-trained')} of {len(states)}"
    (out / "judged.json").write_text(json.dumps(table, indent=1) + "\n")


def chosen(number: int, work: Path) -> dict[str, Any]:
    """Returns what was chosen of a set's checkpoints, and what the reader says of each."""
    hidden, folder = trained(number, "usual", STEPS, EVERY, work)
    score = judged(folder)
    shares = truth(hidden, folder, READ[hidden.kind])
    likeness = [round(float(row.mean()), 4) for row in shares]
    index = [row["path"] for row in score["checkpoints"]].index(score["best"])
    top = int(np.argmax(likeness))
    return {
        "kind": hidden.kind,
        "regularised": hidden.regularised,
        "attributes": hidden.attributes,
        "best": score["checkpoints"][index]["label"],
        "state": score["state"],
        "confidence": score["confidence"],
        "likeness": [row["scores"]["likeness"] for row in score["checkpoints"]],
        "truth": likeness,
        "truth_error": [standard_error(row) for row in shares],
        "truth_pictures": len(shares[0]),
        "true_best": score["checkpoints"][top]["label"],
        "regret": round(likeness[top] - likeness[index], 4),
        # both drew from the same noise
        "regret_error": standard_error(shares[top] - shares[index]),
    }


def judged(folder: Path) -> dict[str, Any]:
    """Judges a run, unless that is done, and returns its score.json."""
    path = folder / "score.json"
    if not path.exists():
        renma("judge", str(folder))
    score = json.loads(path.read_text(encoding="utf-8"))
    assert not score["attributes"]  # the run says nothing of what to look for
    return score


def truth(hidden: HiddenSet, folder: Path, count: int) -> list[np.ndarray]:
    """Returns the share of wanted attributes in each new picture of each checkpoint."""
    record, reader = RunRecord.open(folder), AttributeReader.load()
    cells = Cells(folder / "truth", Silent())
    found = []
    for checkpoint in record.need_checkpoints():
        paths = cells.paint(recipes(record, checkpoint.path, hidden.trigger_prompts, count))
        pictures = []
        for path in paths:
            with Image.open(path) as picture:
                pictures.append(picture.convert("RGB"))
        shares = [
            np.mean([read[name].label == label for name, label in hidden.attributes.items()])
            for read in reader.read(pictures)
        ]
        found.append(np.array(shares))
    return found


def standard_error(shares: np.ndarray) -> float:
    return round(float(shares.std(ddof=1) / len(shares) ** 0.5), 4)


def recipes(
    record: RunRecord, checkpoint: Path, prompts: tuple[str, ...], count: int
) -> list[Recipe]:
    """Returns pictures that the judge has not seen."""
    source = Source.of_run(record.run, record.path, checkpoint)
    facts = source.facts()
    lora = Shelf(None, {}).used(lora_name(checkpoint), checkpoint)
    how = record.run.sample
    return [
        Recipe(
            **source.basis(facts),
            loras=(lora,),
            prompt=Prompt(
                text=text,
                seed=keyed.key(record.run.train.seed, "truth", number, i) % 2**31,
                width=facts.native_size,
                height=facts.native_size,
                steps=how.steps,
                scale=how.scale,
                sampler=how.sampler,
            ),
        )
        for number, text in enumerate(prompts)
        for i in range(count)
    ]


if __name__ == "__main__":
    main()
