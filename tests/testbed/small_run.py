"""A run on mame as training leaves it, made by hand: pictures, LoRA files, settings, events."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw

from renma.config import Run
from renma.config.load import dump
from renma.engine.network import Network
from renma.engine.sample import Shot, draw
from testbed.lora_files import CONV, TEXT, Q, lora, write

COLOURS = ("red", "green", "blue", "orange")
LAST = "aa12.safetensors"


def step(number: int) -> str:
    """Name of the checkpoint of a step."""
    return f"aa12-step{number:08}.safetensors"


def small_run(
    folder: Path, steps: Mapping[int, float] | None = None, **sections: dict[str, Any]
) -> Path:
    """Writes a run whose checkpoints change mame by so much; returns its folder.

    Args:
        folder: for the run; its pictures lie in ``train``.
        steps: strength by step; the last one is the finished LoRA.
        sections: of run.toml, beside those that are needed.
    """
    pictures = folder / "train" / "5_aa12 person"
    pictures.mkdir(parents=True)
    for number, colour in enumerate(COLOURS):
        picture = Image.new("RGB", (128, 128), "white")
        pen = ImageDraw.Draw(picture)
        pen.ellipse((20, 10 + 5 * number, 100, 110), fill=colour)
        pen.rectangle((40, 40, 50 + 10 * number, 60), fill="black")
        picture.save(pictures / f"{colour}.png")
        caption = f"aa12, person, {colour} hat, {number} dots"
        (pictures / f"{colour}.txt").write_text(caption, encoding="utf-8")
    settings = {
        "data": {"train_folder": "train", "resolution": 128},
        "output": {"name": "aa12", "trigger": "aa12"},
        "sample": {"steps": 4, "scale": 1.0, "sampler": "k_euler"},
        "judge": {"pictures": 2},
        "train": {"precision": "fp32", "seed": 3},
    }
    for name, values in sections.items():
        settings[name] = settings.get(name, {}) | values
    (folder / "run.toml").write_text(dump(Run.model_validate(settings)), encoding="utf-8")
    (folder / "lora").mkdir()
    events: list[dict[str, Any]] = [{"kind": "started", "plan": {"reg_pictures": 0}}]
    rows = steps or {10: 0.2, 20: 1.0}
    for number, strength in rows.items():
        name = LAST if number == max(rows) else step(number)
        write_lora(folder / "lora" / name, strength)
        events.append({"kind": "saved", "step": number, "path": f"lora/{name}"})
    events.append(
        {"kind": "finished", "steps": max(rows), "seconds": 9.0, "peak_memory_mib": 512.0}
    )
    lines = "".join(json.dumps(event) + "\n" for event in events)
    (folder / "events.jsonl").write_text(lines, encoding="utf-8")
    return folder


def learnt(run: Path, mame: Any) -> None:
    """Makes the pictures of a run such as its finished LoRA draws them."""
    paths = sorted((run / "train").rglob("*.png"))
    texts = [path.with_suffix(".txt").read_text(encoding="utf-8") for path in paths]
    how = {
        "negative": "",
        "width": 128,
        "height": 128,
        "steps": 4,
        "scale": 1.0,
        "sampler": "k_euler",
    }
    with Network.from_file(mame, run / "lora" / LAST).at():
        shots = [Shot(text, seed=900 + i, **how) for i, text in enumerate(texts)]
        for path, picture in zip(paths, draw(mame, shots), strict=True):
            picture.save(path)


def write_lora(path: Path, strength: float) -> None:
    """Writes a LoRA of U-Net and text encoder; NaN as strength damages it."""
    damaged = strength != strength
    layers = {key: lora(key, 2, 300 * (1 if damaged else strength), 5) for key in (Q, CONV, TEXT)}
    if damaged:
        layers[CONV]["lora_up.weight"].fill_(torch.nan)
    write(path, layers)
