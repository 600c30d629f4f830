"""Options of ``renma blocks``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from renma.config._base import Section, argument, short
from renma.config.sample import Sampler


class BlocksOptions(Section):
    """Options of ``renma blocks``."""

    lora: Path = argument()
    """The folder of a run, whose best LoRA is taken (before `renma judge`: the last one), or a
    LoRA file."""
    model: str = ""
    """The base model of a LoRA file that lies in no run: `mame`, a Stable Diffusion file or a
    diffusers folder."""
    prompt: str = ""
    """What to draw (default: the run's first judge.trigger_prompts, else its first preview prompt);
    sd-scripts' options (--n, --w, --h, --l, --s, --ss) may follow."""
    seeds: int = Field(default=4, ge=1, le=1000)
    """Pictures that every figure is the mean of; each has a seed of its own."""
    seed: int = Field(default=0, ge=0, lt=2**62)
    """The first seed; the others count up."""
    weight: float = Field(default=1.0, ge=-10, le=10)
    """Strength of the LoRA."""
    presets: bool = False
    """Show what the presets of block weights do too: INS, IND, INALL, MIDD, OUTD, OUTS, OUTALL."""
    threshold: int = Field(default=20, ge=0, le=254)
    """A pixel has changed where red, green or blue differ by more than this, of 255."""
    steps: int | None = Field(default=None, ge=1, le=1000)
    """Sampling steps (default: the run's, else 20)."""
    cfg: float | None = Field(default=None, ge=1, le=1000)
    """Guidance (default: the run's, else 7.5)."""
    sampler: Sampler | None = None
    """The sampler (default: the run's, else ddim)."""
    set: tuple[str, ...] = ()
    """Change an option of [model], such as clip_skip=2 or vae=vae.safetensors; repeatable."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute."""
    precision: Literal["fp32", "fp16", "bf16"] | None = None
    """Precision of the weights (default: the run's, else fp32)."""
    batch_size: int | None = Field(default=None, ge=1, le=1024)
    """Pictures computed at once (default: 8 on a CPU, else 1)."""
    as_json: bool = Field(default=False, alias="json")
    """Print the table as JSON, for programs."""
    out: Path | None = short("-o", None)
    """The page to write; its sheet gets the same name with .png (default: blocks.html in the run's
    folder, else NAME-blocks.html here)."""
