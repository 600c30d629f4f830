"""[model]: which base model is trained upon."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from renma import assets
from renma.config._base import Section, opt
from renma.core.errors import UserError
from renma.core.place import is_there


class ModelConfig(Section):
    """The frozen base model."""

    path: str = opt("mame", kohya="pretrained_model_name_or_path")
    """`mame` (the small model inside renma), a Stable Diffusion file (.safetensors, .ckpt), or the
    folder of a diffusers model."""
    family: Literal["auto", "sd1", "sd2", "sdxl"] = opt("auto", "expert", kohya="v2")
    """Model family; `auto` reads it from the model's own files."""
    prediction: Literal["auto", "epsilon", "v_prediction"] = opt(
        "auto", "advanced", kohya="v_parameterization"
    )
    """What the U-Net predicts. `auto` reads it from the model; a single SD 2.x file often does not
    say, and then it has to be told."""
    vae: str = opt("", "advanced", kohya="vae")
    """Another autoencoder than the model's own: a diffusers folder or a file."""
    clip_skip: int = opt(1, "advanced", kohya="clip_skip", ge=1, le=24)
    """Use the text encoder's n-th layer from the end (1 = last; many anime models want 2). SDXL
    always uses the layer it was made with."""
    max_tokens: Literal[75, 150, 225] = opt(75, "advanced", kohya="max_token_length", strict=None)
    """Tokens of a caption that are read; longer captions are cut."""
    weighted_captions: bool = opt(False, "advanced", kohya="weighted_captions")
    """Read `(word:1.3)` and `[word]` in captions as weights instead of as brackets."""

    quantize: Literal["none", "fp8", "int8", "nf4", "fp4"] = opt("none", "advanced")
    """QLoRA: keep the U-Net's frozen linear layers in 8 or 4 bits; slower, far less memory."""
    attention: Literal["auto", "sdpa", "xformers", "none"] = opt("auto", "expert")
    """How attention is computed: torch's own fused kernels (sdpa), xformers where it is installed,
    or step by step (none); `auto` takes the best there is."""

    def place(self, base: Path) -> Path:
        """Returns the folder or file of the model; relative paths start at ``base``.

        Raises:
            UserError: there is none.
        """
        if self.path == "mame":
            return assets.MAME
        return _existing(
            "path",
            base,
            self.path,
            "Give a file, a diffusers folder, or 'mame', the built-in model.",
        )

    def vae_place(self, base: Path) -> Path | None:
        """Returns the folder or file of the autoencoder, if another than the model's own is named.

        Raises:
            UserError: there is none.
        """
        if not self.vae:
            return None
        return _existing("vae", base, self.vae, "Give a file, or the folder of a diffusers VAE.")


def _existing(option: str, base: Path, path: str, remedy: str) -> Path:
    place = base / Path(path).expanduser()
    if is_there(place):
        return place
    what = "file" if place.suffix in {".safetensors", ".ckpt", ".pt"} else "folder or file"
    raise UserError(
        f"there is no such {what}", where=f"model.{option} = {str(place)[:200]}", remedy=remedy
    )
