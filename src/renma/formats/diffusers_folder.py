"""A model folder as diffusers saves it: configurations and weight files (no torch)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from renma.core.errors import UserError

_STEMS = ("diffusion_pytorch_model", "model")


def read_json(path: Path) -> dict[str, Any]:
    """Returns a configuration file.

    Raises:
        UserError: missing or no JSON object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            "is missing", where=path, remedy="Is this a folder that diffusers saved?"
        ) from None
    except ValueError as error:
        raise UserError(f"is not JSON: {error}", where=path) from None
    if not isinstance(value, dict):
        raise UserError("is not a JSON object", where=path)
    return value


def weight_file(folder: Path, *, pickled: bool = False) -> Path:
    """Returns the weight file of one part; full precision before the fp16 variant.

    Args:
        folder: of the part.
        pickled: take a .bin file where there is no safetensors file.

    Raises:
        UserError: there is none, or only pickled or sharded ones.
    """
    names = [f"{stem}{end}.safetensors" for stem in _STEMS for end in ("", ".fp16")]
    if pickled:
        names += ["diffusion_pytorch_model.bin", "pytorch_model.bin"]
    for name in names:
        if (folder / name).exists():
            return folder / name
    others = [p.name for p in sorted(folder.glob("*")) if p.suffix in {".bin", ".safetensors"}]
    raise UserError(
        f"has no weights that can be read (found: {', '.join(others) or 'nothing'})",
        where=folder,
        remedy="Save each part as one safetensors file: save_pretrained(FOLDER).",
    )
