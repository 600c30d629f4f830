"""Writing the LoRA that a file tool made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from renma.core.errors import UserError
from renma.formats import lora_file
from renma.formats.lora_file import LoraFile
from renma.use import layer_facts
from renma.use.layer_update import Layer, is_lora


def naming_of(files: Sequence[LoraFile], layers: Mapping[str, Layer]) -> str:
    """Returns the naming of a new file: that of the old ones where they agree, else kohya's.

    What diffusers wrote in its older ways is written in its present one. Layers that diffusers
    cannot load are written in kohya's.
    """
    dotted = {"peft", "diffusers-old", "diffusers"}
    found = {"diffusers" if file.naming in dotted else file.naming for file in files}
    naming = found.pop() if len(found) == 1 else "kohya"
    plain = all(map(is_lora, layers.values()))
    return "kohya" if naming == "diffusers" and not plain else naming


def save(path: Path, layers: Mapping[str, Layer], metadata: Mapping[str, str], naming: str) -> None:
    """Writes a LoRA file atomically, its hashes computed anew.

    Raises:
        UserError: a number is too large for its precision; nothing has been written.
    """
    for key, layer in layers.items():
        for suffix, tensor in layer.items():
            if not layer_facts.is_finite(tensor):
                raise UserError(
                    f"not written: '{key}.{suffix}' is too large for {tensor.dtype}",
                    where=path,
                    remedy="Use --precision fp32.",
                )
    lora_file.write(path, LoraFile(dict(layers), dict(metadata), naming), naming)
