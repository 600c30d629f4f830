"""Options of ``renma grid``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from renma.config._base import Section, argument, short
from renma.config.sample import Sampler, Weight
from renma.config.sample_task import Side
from renma.core.errors import UserError

FORMATS = (".png", ".html")
"""Endings of what can be written."""
Cfg = Annotated[float, Field(ge=1, le=1000)]


class GridAxes(Section):
    """What differs along the three directions of a grid."""

    x: str = ""
    """What differs from column to column, as AXIS=V,V,...; AXIS is checkpoint, weight, unet-weight,
    text-encoder-weight, block, prompt, replace, seed, cfg, sampler, steps or rank. Numbers may be
    ranges: 0-1(+0.25), 1-10[5]. Quote values that hold commas. block takes presets, lists and
    blocks (IN04-IN08 M00, NOT OUT03); checkpoint takes all, last, best, base, a step or a file;
    replace=smile,frown,wink looks for its first word in the prompt."""
    y: str = ""
    """What differs from row to row, as of --x; checkpoint, weight or prompt alone stand for the
    run's own."""
    z: str = ""
    """What differs from sheet to sheet, as of --x."""


class GridOptions(GridAxes):
    """Options of ``renma grid``."""

    sources: tuple[Path, ...] = argument()
    """Folders of runs (a run.toml, or a project with one run, will do, too), or LoRA files. A run
    alone is drawn as checkpoints x weights with and without its trigger word."""
    weights: tuple[Weight, ...] = ()
    """A LoRA weight to show where no axis is named; repeatable (default: [judge] weights of the
    run)."""
    prompts: tuple[str, ...] = ()
    """A prompt to show, each on a sheet of its own; repeatable (default: the run's own)."""
    prompt: str = ""
    """The prompt of every cell, where no axis changes it; sd-scripts' options (--n, --w, --h, --d,
    --l, --s, --ss) may follow."""
    negative: str = ""
    """What to avoid, where a prompt says nothing else."""
    lora_dir: Path | None = None
    """Where LoRAs named in prompts lie, and in folders below it."""
    seed: int | None = Field(default=None, ge=0, lt=2**63)
    """Seed of every cell (default: one that follows from the run's; 0 without a run)."""
    steps: int | None = Field(default=None, ge=1, le=1000)
    """Sampling steps (default: the run's, else 20)."""
    cfg: Cfg | None = None
    """Guidance (default: the run's, else 7.5)."""
    sampler: Sampler | None = None
    """The sampler (default: the run's, else ddim)."""
    width: Side | None = None
    """In pixels (default: the model's own size)."""
    height: Side | None = None
    """In pixels (default: the model's own size)."""
    difference: Literal["base", "column", "row", "sheet"] | None = None
    """Show beside every cell how it differs from the base model's picture, or from the first
    column, row or sheet, and by how much."""
    model: str = ""
    """The model to draw with: `mame`, a Stable Diffusion file or a diffusers folder (default: the
    run's; a LoRA file seldom says more of its own than that it was mame)."""
    set: tuple[str, ...] = ()
    """Change an option of [model], such as clip_skip=2 or vae=vae.safetensors; repeatable."""
    device: Literal["auto", "cpu", "cuda"] | None = None
    """Where to compute (default: as the run, else auto)."""
    batch_size: int | None = Field(default=None, ge=1, le=1024)
    """Pictures computed at once (default: 8 on a CPU, else 1)."""
    out: Path | None = short("-o", None)
    """The file to write: .png is one labelled sheet, .html a page with every picture at its full
    size (default: grid.png in the run's folder; without a run, in the working folder)."""

    @model_validator(mode="after")
    def _makes_sense(self) -> GridOptions:
        if not self.sources:
            raise UserError(
                "nothing says what to draw",
                remedy="Give the folder of a run, or LoRA files.",
            )
        if self.out is not None and self.out.suffix.lower() not in FORMATS:
            raise UserError(
                "a grid is a picture or a page", where=self.out, remedy="End it in .png or .html."
            )
        if self.prompt and self.prompts:
            raise UserError("--prompt and --prompts say the same", remedy="Give one of them.")
        return self
