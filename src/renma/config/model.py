"""[model]: which base model is trained upon."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from renma import assets
from renma.config._base import Section, opt
from renma.core.errors import UserError


class ModelConfig(Section):
    """The frozen base model."""

    path: str = opt("mame", kohya="pretrained_model_name_or_path")
    """`mame` (the small model inside renma) or the folder of a diffusers Stable Diffusion model."""
    family: Literal["auto", "sd1"] = opt("auto", "expert")
    """Model family; `auto` reads it from the model's own files."""
    clip_skip: int = opt(1, "advanced", kohya="clip_skip", ge=1, le=12)
    """Use the text encoder's n-th layer from the end (1 = last; many anime models want 2)."""

    quantize: Literal["none", "int8", "nf4", "fp4"] = opt("none", "advanced")
    """QLoRA: keep the U-Net's frozen linear layers in 8 or 4 bits; slower, far less memory."""

    def folder(self, base: Path) -> Path:
        """Returns the folder of the model; relative paths start at ``base``.

        Raises:
            UserError: there is no such folder.
        """
        if self.path == "mame":
            return assets.MAME
        folder = base / Path(self.path).expanduser()
        if folder.is_file():
            raise UserError(
                "is a single file; this version reads diffusers folders",
                where=folder,
                remedy="Convert it once, in Python: from diffusers import StableDiffusionPipeline; "
                f"StableDiffusionPipeline.from_single_file('{self.path}').save_pretrained('model').",
            )
        if not folder.is_dir():
            raise UserError(
                "there is no such folder",
                where=f"model.path = {folder}",
                remedy="Give a diffusers folder, or 'mame' for the embedded model.",
            )
        return folder
