"""Options of ``renma sample``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from renma.config._base import Section, argument, short
from renma.config.sample import Sampler
from renma.core.errors import UserError

_GRAIN, _LEAST_SIDE, _MOST_SIDE = 8, 64, 8192


def _side(value: object) -> object:
    """Refuses a side that no latent has, and names the two nearest that one has."""
    if not isinstance(value, int):
        return value  # no number: said by what reads numbers
    if value % _GRAIN or not _LEAST_SIDE <= value <= _MOST_SIDE:
        below = min(max(value // _GRAIN * _GRAIN, _LEAST_SIDE), _MOST_SIDE - _GRAIN)
        raise ValueError(
            f"a side is a multiple of {_GRAIN} from {_LEAST_SIDE} to {_MOST_SIDE}; the nearest are "
            f"{below} and {below + _GRAIN}"
        )
    return value


Side = Annotated[
    int,
    Field(ge=_LEAST_SIDE, le=_MOST_SIDE, multiple_of=_GRAIN),
    BeforeValidator(_side),
]
"""Width or height of a picture in pixels."""


class HiresOptions(Section):
    """A second pass at a larger size."""

    hires: float | None = Field(default=None, gt=1, le=8)
    """Draw a second pass, each side so many times as large, such as 1.5."""
    hires_steps: int | None = Field(default=None, ge=1, le=1000)
    """Steps of the second pass's whole way (default: as the first); strength says how much of it
    is gone."""
    hires_strength: float = Field(default=0.7, gt=0, le=1)
    """How much the second pass may change: 0.3 sharpens, 0.7 draws anew."""
    hires_upscaler: Literal["latent", "lanczos"] = "latent"
    """What is enlarged in between: the latents, or the picture."""


class RegionOptions(Section):
    """Regions of a picture with prompts of their own."""

    regions: Path | None = None
    """A picture of coloured areas; it is stretched over the pictures drawn."""
    region: tuple[str, ...] = ()
    """COLOUR=PROMPT or COLOUR:STRENGTH=PROMPT, such as "red=aa12, smile <lora:aa12:1>" or
    "#00ff00:0.8=..."; repeatable. --prompt is for the rest, and for what strengths leave over."""
    feather: float = Field(default=8.0, ge=0, le=1024)
    """Pixels over which regions melt into one another."""
    region_way: Literal["windows", "whole", "layers"] = "windows"
    """How regions are told apart: each predicted in a window around it; each over the whole
    picture; or so, with every LoRA held to its region in each layer too."""


class SampleOptions(HiresOptions, RegionOptions):
    """Options of ``renma sample``."""

    model: str = argument("")
    """`mame`, a Stable Diffusion file, a diffusers folder, or the folder of a run, whose last LoRA
    is used unless --lora names others."""
    prompt: tuple[str, ...] = ()
    """What to draw; repeatable. Brackets weigh, AND joins sub-prompts, <lora:name:0.8> names a LoRA
    of --lora-dir; sd-scripts' options (--w, --h, --d, --l, --s, --n, --ss) may follow."""
    prompts: Path | None = None
    """Prompts in a file: .txt (a line each), .toml or .json."""
    negative: str = ""
    """What to avoid, where a prompt says nothing else."""
    lora: tuple[str, ...] = ()
    """A LoRA for every prompt: FILE, FILE:WEIGHT or FILE:WEIGHT:TEXT_WEIGHT; repeatable."""
    blocks: tuple[str, ...] = ()
    """Strengths of a LoRA by block: FILE=PRESET or FILE=1,0.5,... (17 or 26 values, SDXL 12 or 20);
    FILE is a name of --lora or in a prompt; repeatable."""
    lora_dir: Path | None = None
    """Where LoRAs named in prompts lie, and in folders below it."""
    lora_in_negative: bool = False
    """Let LoRAs of sub-prompts joined by AND act on the negative prompt too."""
    seed: int = Field(default=0, ge=0, lt=2**63)
    """Seed of the first picture of a prompt; the others count up."""
    count: int = Field(default=1, ge=1, le=100_000)
    """Pictures of each prompt."""
    width: Side | None = None
    """In pixels (default: the model's own size)."""
    height: Side | None = None
    """In pixels (default: the model's own size)."""
    steps: int | None = Field(default=None, ge=1, le=1000)
    """Sampling steps (default: the run's, else 20)."""
    cfg: float | None = Field(default=None, ge=1, le=1000)
    """Guidance (default: the run's, else 7.5)."""
    sampler: Sampler | None = None
    """The sampler (default: the run's, else ddim)."""
    rescale: float | None = Field(default=None, ge=0, le=1)
    """Guidance rescale (default: the run's, else 0)."""
    set: tuple[str, ...] = ()
    """Change an option of [model], such as clip_skip=2 or vae=vae.safetensors; repeatable."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute."""
    precision: Literal["fp32", "fp16", "bf16"] | None = None
    """Precision of the weights (default: the run's, else fp32)."""
    batch_size: int | None = Field(default=None, ge=1, le=1024)
    """Pictures computed at once (default: 8 on a CPU, else 1)."""
    again: Path | None = None
    """Draw this picture of `renma sample` once more. Model, LoRAs and the regions' picture are
    looked for in the working folder, beside the picture, in --lora-dir and where MODEL lies."""
    out: Path = short("-o")
    """The folder for the pictures; those that are there already are kept."""

    @model_validator(mode="after")
    def _says_what(self) -> SampleOptions:
        if self.again is not None:
            self._refuse_with_again()
            return self
        if not self.model:
            raise UserError("names no model", remedy="Such as: renma sample mame --prompt smile.")
        if not (self.prompt or self.prompts or self.region):
            raise UserError("nothing says what to draw", remedy="Give --prompt or --prompts.")
        if bool(self.regions) != bool(self.region):
            missing = "--region COLOUR=PROMPT" if self.regions else "--regions PICTURE"
            raise UserError(
                "a picture of regions and prompts for its colours belong together",
                remedy=f"Give {missing} too.",
            )
        return self

    def _refuse_with_again(self) -> None:
        """Refuses what the picture says itself.

        Raises:
            UserError: something else is said too.
        """
        allowed = {"again", "out", "lora_dir", "device", "batch_size", "model"}
        given = {name for name in self.model_fields_set if getattr(self, name) not in ("", ())}
        if others := sorted(given - allowed):
            raise UserError(
                f"the picture says what --{others[0].replace('_', '-')} would",
                where="--again",
                remedy="Leave it out, or draw without --again.",
            )
