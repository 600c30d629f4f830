"""A score.json of version 2 and cells, as judging leaves them in a run's folder."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from PIL import Image

from renma.config.model import ModelConfig
from renma.config.picture_recipe import Recipe, UsedLora
from renma.config.prompts import Prompt
from renma.drawing import drawn_file

MEASURES = {
    "likeness": {"title": "Likeness", "better": "high", "help": "How near it comes."},
    "leakage": {"title": "Leakage", "better": "low", "help": "What comes unasked."},
    "loss": {"title": "Held-out loss", "better": "low", "help": "On pictures not shown."},
    "norm": {"title": "Weight norm", "better": "none", "help": "How large it is."},
}


def checkpoint(path: str, step: int, merit: float, **scores: float | None) -> dict[str, Any]:
    """Returns one row."""
    return {
        "path": path, "label": f"step {step}", "step": step, "merit": merit, "merit_error": 0.03,
        "rank": 1, "scores": scores, "errors": {"likeness": 0.021},
    }  # fmt: skip


def score(**changes: Any) -> dict[str, Any]:
    """Returns a score.json of version 2 for the run of tests/judge/conftest.py."""
    early = checkpoint("lora/girl-step00000010.safetensors", 10, 0.71,
                       likeness=0.81, leakage=0.03, loss=0.04271, norm=1.5)  # fmt: skip
    late = checkpoint("lora/girl.safetensors", 20, 0.52,
                      likeness=0.78, leakage=0.21, loss=0.04315, norm=2.5)  # fmt: skip
    return {
        "version": 2,
        "best": early["path"],
        "copied": "best/girl.safetensors",
        "runners_up": [late["path"]],
        "state": "over-trained",
        "verdict": ["Use step 10.", "Step 20 leaks."],
        "advice": ["Stop at 10, or set `train.max_steps`."],
        "confidence": 0.82,
        "measures": MEASURES,
        "base": {"scores": {"likeness": 0.0, "leakage": 0.0, "loss": 0.0651}},
        "real": {"scores": {"likeness": 1.0}},
        "checkpoints": [early, late],
        "pictures": {"trigger": 32, "class": 16},
        "encoder": "the base model's own U-Net",
        "likeness": None,
        "leakage": None,
        "attributes": {},
    } | changes


def write(folder: Path, **changes: Any) -> None:
    """Writes it into a run's folder, and the copy of the best file."""
    (folder / "score.json").write_text(json.dumps(score(**changes)), encoding="utf-8")
    (folder / "best").mkdir(exist_ok=True)
    (folder / "best/girl.safetensors").write_bytes(b"copy")


def payload(path: Path) -> str:
    """Returns the hash of a safetensors file's numbers, by the format's description."""
    data = path.read_bytes()
    return hashlib.sha256(data[8 + int.from_bytes(data[:8], "little") :]).hexdigest()


def cell(
    folder: Path, prompt: str, seed: int, colour: str, lora: Path | None = None, weight: float = 1.0
) -> None:
    """Writes a drawn picture of one colour into a run's cells."""
    used = ()
    if lora:
        name, sha256 = lora.name, payload(lora)
        used = (UsedLora(name="x", path=name, sha256=sha256, unet=weight, text_encoder=weight),)
    recipe = Recipe(
        model=ModelConfig(path="mame"), prompt=Prompt(text=prompt, seed=seed), loras=used
    )
    cells = folder / "cells"
    cells.mkdir(exist_ok=True)
    picture = Image.new("RGB", (64, 64), colour)
    drawn_file.write(cells / f"{recipe.digest()[:20]}.png", picture, recipe)
