"""Building the parts of a diffusers folder from memory-mapped weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from renma.core.errors import UserError
from renma.formats.diffusers_folder import read_json, weight_file
from renma.formats.safetensors import read_tensors_as


def component(kind: Any, folder: Path, device: torch.device, dtype: torch.dtype) -> Any:
    """Builds one frozen part: empty on the meta device, then weights assigned from the file.

    No random start is computed and nothing is copied that already fits.

    Args:
        kind: a class with ``from_config(dict)``.
        folder: holds config.json and the weights.
        device: target.
        dtype: precision of floating-point weights.
    """
    config = read_json(folder / "config.json")
    with torch.device("meta"):
        model: nn.Module = kind.from_config(config)
    weights = read_tensors_as(weight_file(folder), dtype, device)
    wanted = set(model.state_dict())
    if not wanted & set(weights):  # transformers before 5 wrote a prefix, version 5 writes none
        weights = {name.removeprefix("text_model."): t for name, t in weights.items()}
    missing = sorted(wanted - set(weights))
    if missing:
        raise UserError(
            f"lacks {len(missing)} tensors, such as {missing[0]}", where=weight_file(folder)
        )
    model.load_state_dict({name: weights[name] for name in wanted}, strict=True, assign=True)
    return model.eval().requires_grad_(False)
