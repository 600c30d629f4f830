"""Everything that a drawn picture depends on: what stands in its PNG, and what its name is made of.

It comes out of files of anybody, so it is checked like any other input.
"""

from __future__ import annotations

import json
from pathlib import PurePath, PureWindowsPath
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
    layout: str = ""
    """Digest of what the header says of those bytes: names, shapes, strengths written there."""
    unet: float = 1.0
    text_encoder: float = 1.0
    blocks: str = ""
    """Those it is drawn with."""
    written: str = ""
    """Those that the prompt itself says."""


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
    parts_hash: str = ""
    """Of every file of the model that a picture depends on, and of its noise schedule."""
    vae_hash: str = ""
    """Of another autoencoder than the model's own."""
    zero_terminal_snr: bool | None = None
    """Whether the noise schedule that a run was trained with ends in pure noise; None draws with
    the model's own schedule."""
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
        row = self.portable().model_dump(mode="json")
        for place in ("base", "regions"):
            row.pop(place)
        for lora in (*row["loras"], *row["named"]):
            lora.pop("path")
        for lora in row["loras"]:  # no prompt calls these by name
            lora.pop("name")
        if self.model_hash:
            row["model"].pop("path")
        if self.vae_hash:
            row["model"].pop("vae")
        return digest([json.dumps(row, sort_keys=True)])

    def effective(self) -> Recipe:
        """Returns the recipe without LoRAs of weight 0: it shows the same."""
        acting = tuple(x for x in self.loras if x.unet or x.text_encoder)
        return self if acting == self.loras else self.model_copy(update={"loras": acting})

    def portable(self) -> Recipe:
        """Returns the recipe with names of files in place of paths: hashes say which are meant."""
        model = {"path": _name(self.model.path), "vae": _name(self.model.vae)}
        changed: dict[str, object] = {
            "base": "",
            "model": self.model.model_copy(update=model),
            "regions": _name(self.regions),
        }
        for field in ("loras", "named"):
            found: tuple[UsedLora, ...] = getattr(self, field)
            changed[field] = tuple(x.model_copy(update={"path": _name(x.path)}) for x in found)
        return self.model_copy(update=changed)


def _name(path: str) -> str:
    # a backslash parts folders on Windows alone, where PurePath itself knows it
    return PureWindowsPath(path).name if PureWindowsPath(path).drive else PurePath(path).name
