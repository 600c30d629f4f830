"""What `renma absorbed` says of the sample character, beside an attribute reader that knows.

    python benchmarks/absorbed.py --out benchmarks/results/absorbed.json [--work DIR]

`renma init`, `renma train` (300 steps) and `renma absorbed` in processes of their own, as a user
would start them; what is finished in DIR is not done again. Pink hair, braid, tan skin and glasses
were taken out of the captions, so the trigger should bring them; smile and blue background are
varied in them, so they should answer. The reader, which the audit does not use, reads the share of
the trigger's pictures that show each. The base model has never seen a braid.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from PIL import Image

from command import renma
from renma.core.events import Silent
from renma.judge.attributes import AttributeReader
from renma.judge.folder import RunRecord
from renma.judge.scoring.examiner import Examiner

OWN = {"pink hair": ("hair_colour", "pink"), "braid": ("hair", "braid"),
       "tan skin": ("skin", "tan"), "glasses": ("eyewear", "glasses")}  # fmt: skip
"""Tags that the captions lack, with head and label of the reader."""
FREE = {"smile": ("mouth", "smile"), "blue background": ("background", "blue")}
"""Tags that the captions vary."""
NEVER = {"short hair": ("hair", "short hair"), "red hair": ("hair_colour", "red")}
"""Tags that no picture shows."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("runs/absorbed"))
    arguments = parser.parse_args()
    project = arguments.work / "character"
    run = project / "runs" / "001"
    if not project.exists():
        renma("init", str(project), "--sample", "character")
    if not (run / "lora" / "aa12.safetensors").exists():
        renma("train", str(project / "run.toml"), "--set", "train.max_steps=300")
    tags = {**OWN, **FREE, **NEVER}
    began = time.monotonic()
    words = [word for tag in tags for word in ("--tags", tag)]
    renma("absorbed", str(run), "--checkpoint", "last", "--most", "0", *words)
    seconds = time.monotonic() - began
    told = json.loads((run / "tags.json").read_text(encoding="utf-8"))
    rows = {row["tag"]: row for row in told["absorbed"]}
    read = read_by_reader(run, told, tags)
    table: dict[str, Any] = {
        tag: {"audit": rows.get(tag, "cannot be measured"), "reader": read[tag]} for tag in tags
    }
    result = {"steps": 300, "pictures": told["pictures"], "seconds": round(seconds), "tags": table,
              "sentences": told["sentences"], "advice": told["advice"]}  # fmt: skip
    arguments.out.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n")
    print(json.dumps(result, indent=2, ensure_ascii=False))


def read_by_reader(
    run: Path, told: dict[str, Any], tags: dict[str, tuple[str, str]]
) -> dict[str, dict[str, float]]:
    """Returns the share of pictures in which the reader sees each tag, by who drew what."""
    examiner = Examiner(RunRecord.open(run), Silent())
    checkpoint, plain = run / told["checkpoint"], told["class_prompt"]
    reader = AttributeReader.load()
    found = {}
    for tag, (head, label) in tags.items():
        sets = {
            "base": (plain, None),
            "base_with_tag": (f"{plain}, {tag}", None),
            "trigger": (f"aa12, {plain}", checkpoint),
            "trigger_with_tag": (f"aa12, {plain}, {tag}", checkpoint),
        }
        drawn = examiner.draw([*sets.values()], told["pictures"])
        found[tag] = {}
        for name, asked in sets.items():
            seen = reader.read([Image.open(path) for path in drawn[asked]])
            found[tag][name] = sum(label == each[head].label for each in seen) / len(seen)
    return found


if __name__ == "__main__":
    main()
