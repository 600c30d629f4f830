"""A finished run made by hand: two checkpoints, events, previews, pictures; no model needed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

TOML = """
[data]
train_folder = "pictures"
resolution = 64
[optimizer]
learning_rate = 1e-3
[schedule]
name = "cosine"
[sample]
scale = 4.0
steps = 3
[judge]
trigger_prompts = ["aa12, smile", "aa12, wink"]
class_prompts = ["person, smile"]
attributes = { hair = "pink", skin = "light" }
pictures = 4
weights = [0.0, 1.0]
[output]
name = "girl"
trigger = "aa12"
"""


class Lines:
    """A report that keeps what it was told."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.events: list[tuple[str, dict[str, Any]]] = []

    def event(self, kind: str, **data: Any) -> None:
        self.events.append((kind, data))

    def line(self, text: str) -> None:
        self.lines.append(text)


class FakePainter:
    """Paints one plain colour a cell, chosen by a function; remembers what it was asked."""

    def __init__(self, colour: Any = lambda cell: "grey") -> None:
        self.colour = colour
        self.asked: list[Any] = []

    def paint(self, cells: Sequence[Any]) -> list[Image.Image]:
        self.asked += cells
        return [Image.new("RGB", (64, 64), self.colour(cell)) for cell in cells]


@pytest.fixture
def lines() -> Lines:
    return Lines()


@pytest.fixture
def painter() -> type[FakePainter]:
    return FakePainter


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """The folder of a run that saved steps 10 and 20 and drew one preview at each."""
    folder = tmp_path / "run"
    pictures = folder / "pictures" / "2_aa12 person"
    pictures.mkdir(parents=True)
    for name in ("one", "two"):
        Image.new("RGB", (64, 64), "pink").save(pictures / f"{name}.png")
        (pictures / f"{name}.txt").write_text(f"aa12, {name}", encoding="utf-8")
    (folder / "run.toml").write_text(TOML, encoding="utf-8")
    (folder / "samples").mkdir()
    (folder / "lora").mkdir()
    events: list[dict[str, Any]] = [
        {"kind": "started", "steps": 20, "version": "0.1", "plan": {"pictures": 2, "steps": 20}}
    ]
    for step in range(1, 21):
        rates = {"unet": 1e-3 * (1 - step / 20), "text_encoder": 1e-4}
        events.append({"kind": "step", "step": step, "loss": 1 / step, "lr": rates})
        if step in (10, 20):
            name = f"samples/{step}.png"
            Image.new("RGB", (64, 64), "blue").save(folder / name)
            row = {"step": step, "path": name, "prompt": "aa12, smile", "index": 0, "seed": 1}
            events.append({"kind": "sample", **row})
            file = "lora/girl.safetensors" if step == 20 else "lora/girl-step00000010.safetensors"
            numbers = np.full((2, 2), step, np.float16)
            save_file({"layer.lora_up.weight": numbers}, folder / file, {"ss_steps": str(step)})
            events.append({"kind": "saved", "step": step, "path": file})
    events.append({"kind": "finished", "steps": 20, "seconds": 75.0, "peak_memory_mib": 512.0})
    write_events(folder, events)
    return folder


def write_events(folder: Path, events: Sequence[dict[str, Any]]) -> None:
    text = "".join(json.dumps(event) + "\n" for event in events)
    (folder / "events.jsonl").write_text(text, encoding="utf-8")
