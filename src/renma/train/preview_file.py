"""A preview's PNG: the picture, and what it was drawn from, for people and for web UIs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from renma.core.store import write_atomic
from renma.engine.sample import Shot
from renma.train.preview_sheet import CHUNK

PARAMETERS = "parameters"
"""Name of the text chunk that Stable Diffusion web UIs read."""
_WEB_NAMES = {
    "ddim": "DDIM", "pndm": "PLMS", "heun": "Heun", "lms": "LMS", "euler": "Euler",
    "euler_a": "Euler a", "dpm_2": "DPM2", "dpm_2_a": "DPM2 a", "dpmsolver++": "DPM++ 2M",
}  # fmt: skip
"""Samplers by their names in AUTOMATIC1111's web UI, where it has them."""


@dataclass(frozen=True)
class Drawing:
    """One picture to draw and to write.

    Attributes:
        shot: what to draw.
        weight: the LoRA weight.
        index: its number among the drawings of one time.
        number: of the prompt.
        several_weights: whether each prompt is drawn at several weights.
    """

    shot: Shot
    weight: float
    index: int
    number: int
    several_weights: bool

    def name(self, step: int) -> str:
        """Returns its file name after ``step`` steps."""
        at = f"-w{self.weight:g}" if self.several_weights else ""
        return f"step-{step:08d}-{self.number:02d}{at}.png"


def write(path: Path, picture: Image.Image, drawing: Drawing, lora: str, step: int) -> None:
    """Writes a preview atomically, with two text chunks: for web UIs, and all as JSON.

    Args:
        path: the file.
        picture: the picture.
        drawing: what it was drawn from.
        lora: name of the LoRA.
        step: steps trained.

    Raises:
        UserError: the disk is full.
    """
    shot, (width, height) = drawing.shot, picture.size
    about: dict[str, Any] = {
        **vars(shot),
        "width": width,
        "height": height,
        "lora": lora,
        "weight": drawing.weight,
        "several_weights": drawing.several_weights,
        "step": step,
        "number": drawing.number,
    }
    info = PngInfo()
    info.add_itxt(PARAMETERS, parameters(drawing, (width, height), lora, step))
    info.add_itxt(CHUNK, json.dumps(about))
    write_atomic(path, lambda part: picture.save(part, format="PNG", pnginfo=info))


def parameters(drawing: Drawing, size: tuple[int, int], lora: str, step: int) -> str:
    """Returns what web UIs show and fill in: prompt, negative prompt, one line of settings."""
    shot = drawing.shot
    plain = shot.sampler.removeprefix("k_")
    settings = {
        "Steps": shot.steps,
        "Sampler": _WEB_NAMES.get(plain, plain),
        "CFG scale": f"{shot.scale:g}",
        "Seed": shot.seed,
        "Size": f"{size[0]}x{size[1]}",
        **({"CFG Rescale": f"{shot.rescale:g}"} if shot.rescale else {}),
        "Training step": step,
        "Version": "renma",
    }
    lines = [f"{shot.prompt} <lora:{lora}:{drawing.weight:g}>"]
    if shot.negative:
        lines.append(f"Negative prompt: {shot.negative}")
    lines.append(", ".join(f"{name}: {value}" for name, value in settings.items()))
    return "\n".join(lines).encode("utf-8", "replace").decode()
