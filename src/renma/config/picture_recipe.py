"""Everything that a drawn picture depends on: what stands in its PNG, and what its name is made of.

It comes out of files of anybody, so it is checked like any other input.
"""

from __future__ import annotations

import json
from typing import Literal

from pydantic import Field

from renma.config._base import Section
from renma.config.model import ModelConfig
from renma.config.prompts import Prompt
from renma.config.sample_task import HiresOptions
from renma.core.store import digest

VERSION = 1


class UsedLora(Section):
    """A LoRA file.

    ``sha256`` is of its bytes behind the header, so that editing metadata changes nothing.
    """

    name: str
    path: str
    sha256: str = ""
    unet: float = 1.0
    text_encoder: float = 1.0
    blocks: str = ""


class UsedRegion(Section):
    """A colour of the picture of regions."""

    colour: str
    prompt: str
    strength: float = Field(1.0, gt=0, le=1)


class Recipe(Section):
    """One picture."""

    version: Literal[1] = VERSION
    model: ModelConfig
    base: str = ""
    """Folder that the model's relative paths start from."""
    model_hash: str = ""
    precision: Literal["fp32", "fp16", "bf16"] = "fp32"
    prompt: Prompt
    """With its size, seed, steps, guidance and sampler all said."""
    loras: tuple[UsedLora, ...] = ()
    """Those that act everywhere."""
    named: tuple[UsedLora, ...] = ()
    """Files and blocks of the LoRAs that prompts name; how strongly stands in the prompts."""
    lora_in_negative: bool = False
    hires: HiresOptions = HiresOptions()
    regions: str = ""
    """The picture of regions."""
    regions_sha256: str = ""
    region: tuple[UsedRegion, ...] = ()
    feather: float = Field(8.0, ge=0, le=1024)
    region_way: Literal["windows", "whole", "layers"] = "windows"

    def digest(self) -> str:
        """Returns 40 digits that tell pictures apart, wherever model and LoRAs lie."""
        row = self.model_dump(mode="json")
        for place in ("base", "regions"):
            row.pop(place)
        for lora in (*row["loras"], *row["named"]):
            lora.pop("path")
        if self.model_hash:
            row["model"].pop("path")
        return digest([json.dumps(row, sort_keys=True)])
