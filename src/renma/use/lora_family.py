"""Which base models a LoRA file is for, told by its layers, else by its metadata."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from renma.core.errors import UserError
from renma.formats import module_names
from renma.formats.checkpoint import Family
from renma.formats.layer_shape import weight_shape
from renma.formats.lora_file import LoraFile

NAMES: dict[Family, str] = {"sd1": "SD 1.x", "sd2": "SD 2.x", "sdxl": "SDXL"}
_CONTEXT: dict[int, Family] = {768: "sd1", 1024: "sd2", 2048: "sdxl"}
"""Width of the text that cross-attention reads: that of CLIP L, OpenCLIP H, and both of SDXL's."""
_BEGINNINGS: dict[str, Family] = {
    "sd_v1": "sd1", "sd_v2": "sd2", "sdxl": "sdxl",
    "stable-diffusion-v1": "sd1", "stable-diffusion-v2": "sd2", "stable-diffusion-xl": "sdxl",
}  # fmt: skip
"""How the two entries of metadata that name a base model begin (kohya-ss, ModelSpec)."""


def family_of(file: LoraFile) -> Family | None:
    """Returns the family that a file's LoRA is for; None where nothing tells it.

    Layers count before metadata, which anybody may have written.
    """
    places = {key: module_names.module_path(key) for key in _understood(file)}
    for key, (_, path) in places.items():
        if path.endswith(("attn2.to_k", "attn2.to_v")):
            shape = weight_shape(key, file.layers[key])
            if shape is not None and shape[1] in _CONTEXT:
                return _CONTEXT[shape[1]]
    if module_names.is_sdxl(places.values()):
        return "sdxl"
    entries = ("ss_base_model_version", "modelspec.architecture")
    told = [file.metadata.get(entry, "") for entry in entries]
    for begin, family in _BEGINNINGS.items():
        if any(text.startswith(begin) for text in told):
            return family
    return None


def check_alike(files: Sequence[tuple[Path, LoraFile]]) -> None:
    """Makes sure that files can act on one model together.

    Raises:
        UserError: they are for different families of base models.
    """
    known: dict[Path, Family] = {}
    for path, file in files:
        if family := family_of(file):
            known[path] = family
    if len(set(known.values())) < 2:
        return
    first = next(iter(known))
    other = next(path for path in known if known[path] != known[first])
    raise UserError(
        f"{first} is for {NAMES[known[first]]} and {other} for {NAMES[known[other]]}: LoRAs of "
        "different base models cannot be added up",
        remedy="Merge those of one family; no tool carries a LoRA over to another.",
    )


def _understood(file: LoraFile) -> list[str]:
    """Returns the keys that belong to a Stable Diffusion model."""
    found = []
    for key in file.layers:
        try:
            module_names.module_path(key)
        except UserError:
            continue
        found.append(key)
    return found
