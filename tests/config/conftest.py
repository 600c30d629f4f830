"""Layer tables of the published Stable Diffusion models, from empty models and from headers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ARCHITECTURES = Path(__file__).parent / "architectures.json"


@dataclass
class Published:
    """One published model without weights."""

    modules: dict[str, Any]
    table: list
    """Slots by the names and shapes of the weights."""

    def by_kohya(self, part: str) -> dict:
        return {slot.name: slot for slot in self.table if slot.part == part}


@pytest.fixture(scope="session")
def published() -> dict[str, Published]:
    """sd1, sd2, sdxl and mame, built on the meta device."""
    import torch
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    from renma import assets
    from renma.config.layer_table import slots

    kinds = {"text_encoder": CLIPTextModel, "text_encoder_2": CLIPTextModelWithProjection}
    configurations = json.loads(ARCHITECTURES.read_text())
    configurations["mame"] = {
        part: json.loads((assets.MAME / part / "config.json").read_text())
        for part in ("unet", "text_encoder")
    }
    found = {}
    for name, parts in configurations.items():
        with torch.device("meta"):
            modules = {"unet": UNet2DConditionModel.from_config(parts.pop("unet"))}
            for part, config in parts.items():
                modules[part] = kinds[part](CLIPTextConfig(**config))
        headers = {
            part: {key: tuple(value.shape) for key, value in module.state_dict().items()}
            for part, module in modules.items()
        }
        found[name] = Published(modules, slots(*headers.values()))
    return found
