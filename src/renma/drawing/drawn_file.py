"""A drawn picture's PNG: what web UIs read, and the whole recipe, from which it is drawn again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from renma.config.load import validate
from renma.config.picture_recipe import Recipe, UsedLora
from renma.core import json_file
from renma.core.errors import UserError
from renma.core.store import write_atomic
from renma.drawing.prompt_loras import with_blocks
from renma.formats.infotext import PARAMETERS, infotext, web_name

CHUNK = "renma"
"""Name of the text chunk that holds the recipe as JSON."""
_UPSCALERS = {"latent": "Latent", "lanczos": "Lanczos"}
_HASH = 12
"""Digits of a LoRA's hash that web UIs compare."""


def write(path: Path, picture: Image.Image, recipe: Recipe) -> None:
    """Writes a picture atomically.

    Raises:
        UserError: the disk is full.
    """
    info = PngInfo()
    info.add_itxt(PARAMETERS, parameters(recipe))
    info.add_itxt(CHUNK, recipe.portable().model_dump_json())
    write_atomic(path, lambda part: picture.save(part, format="PNG", pnginfo=info))


def read(path: Path) -> Recipe:
    """Returns the recipe of a picture.

    Raises:
        UserError: no picture, none of renma's, or one that another version of it drew.
    """
    try:
        with Image.open(path) as picture:
            text = picture.info.get(CHUNK)
    except (UnidentifiedImageError, Image.DecompressionBombError, ValueError):
        raise UserError("is no picture that Pillow reads", where=path) from None
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror or 'is broken'}", where=path) from None
    if not isinstance(text, str):
        remedy = "Give a PNG that `renma sample` wrote; many programs drop its text."
        raise UserError("does not say how it was drawn", where=path, remedy=remedy)
    row = json_file.parse(text, path)
    if not isinstance(row, dict) or not {"model", "prompt"} <= row.keys():
        raise UserError("was not drawn by `renma sample`", where=path)
    return validate(Recipe, row, path)


def shows(path: Path, recipe: Recipe) -> bool:
    """Says whether a file is a whole picture of a recipe."""
    try:
        with Image.open(path) as picture:
            picture.load()
        return read(path).digest() == recipe.digest()
    # Pillow's answer to broken chunks is a SyntaxError
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError, UserError):
        return False


def parameters(recipe: Recipe) -> str:
    """Returns what web UIs show and fill in."""
    prompt, hires = recipe.prompt, recipe.hires
    settings: dict[str, Any] = {
        "Steps": prompt.steps,
        "Sampler": web_name(prompt.sampler),
        "CFG scale": f"{prompt.scale:g}",
        "Seed": prompt.seed,
        "Size": f"{prompt.width}x{prompt.height}",
        "Model hash": recipe.model_hash[:10],
        "Model": Path(recipe.model.path).stem,
    }
    if prompt.rescale:
        settings["CFG Rescale"] = f"{prompt.rescale:g}"
    if recipe.model.clip_skip > 1:
        settings["Clip skip"] = recipe.model.clip_skip
    if recipe.zero_terminal_snr:
        settings["Noise Schedule"] = "Zero Terminal SNR"
    if hires.hires:
        settings["Denoising strength"] = f"{hires.hires_strength:g}"
        settings["Hires upscale"] = f"{hires.hires:g}"
        settings["Hires steps"] = hires.hires_steps or prompt.steps
        settings["Hires upscaler"] = _UPSCALERS[hires.hires_upscaler]
    used = {lora.name: lora.sha256[:_HASH] for lora in (*recipe.loras, *recipe.named)}
    if used:
        settings["Lora hashes"] = ", ".join(f"{name}: {sha}" for name, sha in used.items())
    blocks = {lora.name: lora.blocks for lora in recipe.named if not lora.written}
    if recipe.region:
        settings["Regions"] = "; ".join(
            f"{area.colour}:{area.strength:g}={with_blocks(area.prompt, blocks)}"
            for area in recipe.region
        )
    settings["Version"] = "renma"
    text = " ".join([with_blocks(prompt.text, blocks), *map(_tag, recipe.loras)]).strip()
    return infotext(text, prompt.negative, {k: v for k, v in settings.items() if v != ""})


def _tag(lora: UsedLora) -> str:
    weights = f"{lora.unet:g}"
    if lora.text_encoder != lora.unet:
        weights = f"unet={lora.unet:g}:te={lora.text_encoder:g}"
    return f"<lora:{lora.name}:{weights}{f':lbw={lora.blocks}' if lora.blocks else ''}>"
