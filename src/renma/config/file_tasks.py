"""Options of ``renma file VERB``: everything that is done to a finished LoRA file."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from renma.config._base import Section, argument, short

Precision = Literal["keep", "fp32", "fp16", "bf16"]


class ShowOptions(Section):
    """Options of ``renma file show``."""

    file: Path = argument()
    """The LoRA file."""
    as_json: bool = Field(default=False, alias="json")
    """Print everything as JSON, for programs."""
    html: Path | None = None
    """Write a page with charts of blocks and tags."""
    search: str = ""
    """Show only metadata whose key or value holds this text."""


class EditOptions(Section):
    """Options of ``renma file edit``."""

    file: Path = argument()
    """The LoRA file."""
    set: tuple[str, ...] = ()
    """Write a metadata entry: key=value; repeatable."""
    remove: tuple[str, ...] = ()
    """Remove a metadata entry; `*` stands for any letters, such as ss_tag*; repeatable."""
    scrub: Literal["minimal", "none"] | None = None
    """Keep only what programs need to load the file (minimal), or no metadata at all (none)."""
    out: Path | None = short("-o", None)
    """The file to write (default: the file itself; its weights are never touched)."""


class VerifyOptions(Section):
    """Options of ``renma file verify``."""

    file: Path = argument()
    """The LoRA file."""
    model: str = ""
    """A model whose layers it must fit: `mame`, a diffusers folder, a .safetensors checkpoint."""


class ConvertOptions(Section):
    """Options of ``renma file convert``."""

    file: Path = argument()
    """The LoRA file."""
    out: Path = argument()
    """The file to write."""
    to: Literal["kohya", "diffusers", "lycoris"]
    """Naming: kohya (A1111, ComfyUI, Forge), diffusers (and PEFT), lycoris."""
    as_form: Literal["same", "lora", "diff", "merged"] = Field(default="same", alias="as")
    """Form for programs without this algorithm: plain LoRA, plain differences, or the same
    differences of a weight with magnitudes (DoRA, (IA)3, OFT) worked out against --base."""
    base: str = ""
    """The base model, where a form needs its weights: `mame`, a diffusers folder, a .safetensors
    checkpoint."""
    rank: int | None = Field(default=None, ge=1, le=4096)
    """Rank of a LoRA that is only an approximation (default: the exact one, where there is one)."""
    precision: Precision = "keep"
    """Precision of the numbers in the new file."""


class MergeOptions(Section):
    """Options of ``renma file merge``."""

    files: tuple[str, ...] = argument()
    """LoRA files with their weights: A.safetensors:0.7 B.safetensors:0.4 (no weight means 1)."""
    out: Path = short("-o")
    """The file to write; with --base, a folder or a file as the base is one."""
    base: str = ""
    """Merge into this model (`mame`, a diffusers folder, a .safetensors checkpoint) instead of into
    one LoRA."""
    rank: int | None = Field(default=None, ge=1, le=4096)
    """Shorten the sum to this rank (default: exact, the ranks added up)."""
    precision: Precision = "keep"
    """Precision of the numbers in the new file."""


class ResizeOptions(Section):
    """Options of ``renma file resize``."""

    file: Path = argument()
    """The LoRA file."""
    out: Path = argument()
    """The file to write."""
    rank: int = Field(ge=1, le=4096)
    """The new rank; with a dynamic method, the highest one allowed."""
    conv_rank: int | None = Field(default=None, ge=1, le=4096)
    """The new rank of 3x3 convolutions (default: rank)."""
    method: Literal["static", "sv_ratio", "sv_cumulative", "sv_fro"] = "static"
    """How a layer's rank is chosen: all alike, by the ratio of the largest singular value, by the
    share of their sum, or by the share of the update's norm."""
    parameter: float | None = Field(default=None, gt=0)
    """Number of the dynamic method: sv_ratio 2 and more, the others between 0 and 1."""
    precision: Precision = "keep"
    """Precision of the numbers in the new file."""


class ExtractOptions(Section):
    """Options of ``renma file extract``."""

    base: Path = argument()
    """The model before: a diffusers folder, or a checkpoint or U-Net as .safetensors."""
    tuned: Path = argument()
    """The model after."""
    out: Path = argument()
    """The LoRA file to write."""
    rank: int = Field(ge=1, le=4096)
    """Rank of linear layers and 1x1 convolutions."""
    conv_rank: int | None = Field(default=None, ge=1, le=4096)
    """Rank of 3x3 convolutions; without it they are left out."""
    algo: Literal["lora", "loha"] = "lora"
    """Kind of the new file; a loha is fitted by least squares, its error is said."""
    clamp_quantile: float = Field(default=1.0, gt=0, le=1)
    """Cut factors at this quantile of their values (kohya uses 0.99; 1 cuts nothing)."""
    min_difference: float = Field(default=0.0, ge=0)
    """Leave a text encoder out whose largest difference is not above this."""
    precision: Precision = "keep"
    """Precision of the numbers in the new file (keep: as the tuned model)."""


class CutOptions(Section):
    """Options of ``renma file cut``."""

    file: Path = argument()
    """A LoRA trained with DyLoRA."""
    out: Path = argument()
    """The file to write."""
    rank: int = Field(ge=1, le=4096)
    """How many of its ranks to keep, from the first."""
