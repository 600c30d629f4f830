"""A run's folder as training leaves it, without the training: for pages that show runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from PIL import Image

STEPS = (10, 20)
TOML = """[model]
path = "mame"
[sample]
scale = 4.0
steps = 10
[judge]
trigger_prompts = ["aa12, smile"]
class_prompts = ["person, smile"]
weights = [0.0, 0.5, 1.0]
[output]
name = "aa12"
trigger = "aa12"
"""


def made_run(folder: Path) -> Path:
    """Writes run.toml, events and two LoRA files without layers; returns the folder."""
    (folder / "lora").mkdir(parents=True)
    (folder / "run.toml").write_text(TOML)
    rows: list[dict[str, Any]] = [{"kind": "started", "step": 0, "steps": STEPS[-1]}]
    for step in STEPS:
        end = "" if step == STEPS[-1] else f"-step{step:08d}"
        name = f"lora/aa12{end}.safetensors"
        (folder / name).write_bytes((2).to_bytes(8, "little") + b"{}")
        rows.append({"kind": "saved", "path": name, "step": step})
    rows.append({"kind": "finished", "steps": STEPS[-1]})
    text = "".join(json.dumps({"time": 1.0, **row}) + "\n" for row in rows)
    (folder / "events.jsonl").write_text(text)
    return folder


def picture(path: Path, size: tuple[int, int] = (96, 64)) -> None:
    """Writes a picture of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, "teal").save(path)


def score() -> dict[str, Any]:
    """Returns what judging writes, figures invented."""
    names = ("likeness", "leakage", "following", "drift")
    better = {"likeness": "high", "leakage": "low", "following": "high", "drift": "low"}
    measures = {n: {"title": n.title(), "better": better[n], "help": f"About {n}."} for n in names}

    def row(step: int, *numbers: float) -> dict[str, Any]:
        scores = dict(zip(names, numbers, strict=True))
        name = "aa12.safetensors" if step == STEPS[-1] else f"aa12-step{step:08d}.safetensors"
        return {
            "path": f"lora/{name}", "label": f"step {step}", "step": step, "place": 1,
            "merit": numbers[0] - numbers[1], "merit_error": None if step == 20 else 0.05,
            "scores": scores, "errors": {"likeness": 0.031},
        }  # fmt: skip

    return {
        "version": 2,
        "best": "lora/aa12.safetensors",
        "runners_up": [],
        "state": "well trained",
        "verdict": ["Best of 2 checkpoints is step 20."],
        "advice": ["Keep it."],
        "measures": measures,
        "base": {"scores": dict(zip(names, (0.0, 0.1, 0.9, 0.0), strict=True))},
        "checkpoints": [row(10, 0.4, 0.2, 0.8, 0.1), row(20, 0.875, 0.11, 0.75, 0.2)],
    }
